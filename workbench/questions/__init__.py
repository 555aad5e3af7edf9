"""Questions that people ask of a planner: what fits here, what card is enough, what memory is worth, which of two is better."""

from workbench.questions._cards import Cards as Cards
from workbench.questions._cards import cards as cards
from workbench.questions._compare import Comparison as Comparison
from workbench.questions._compare import compare as compare
from workbench.questions._fit import Fit as Fit
from workbench.questions._fit import fit as fit
from workbench.questions._shadow_prices import ShadowPrices as ShadowPrices
from workbench.questions._shadow_prices import shadow_prices as shadow_prices

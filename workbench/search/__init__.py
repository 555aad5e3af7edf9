"""Searches the settings of a workload under the caps of a device."""

from workbench.search._result import Candidate as Candidate
from workbench.search._result import Plan as Plan

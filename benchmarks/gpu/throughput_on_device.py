"""Part 4: networks a second, proxies an hour, and where the time of a step goes: the most telling first."""

from __future__ import annotations

from gpu.parts import Case, Settings
from gpu.profile_of_steps import profile_cases
from gpu.proxies import proxy_cases
from gpu.rates import first_cases, further_cases
from lossforge.evaluation.threads import one_thread


def cases(settings: Settings) -> list[Case]:
    one_thread()
    return [
        *first_cases(settings),
        *proxy_cases(settings),
        *profile_cases(settings),
        *further_cases(settings),
    ]

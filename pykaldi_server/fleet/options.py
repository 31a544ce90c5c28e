"""Settings of workers in a Ray cluster: which cluster, and how many."""

from dataclasses import dataclass
from pathlib import Path

from pykaldi_server.errors import ConfigError
from pykaldi_server.options import Settings, check_positive, option

__all__ = ["FleetOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions(Settings):
    """Settings of workers in a Ray cluster."""

    ray_address: str = option(
        "",
        "address of the Ray cluster, such as HOST:6379; if not set, that of the environment variable "
        "RAY_ADDRESS, the cluster that runs on this machine, or a new one on this machine",
        fixed=True,
    )
    min_workers: int = option(1, "fewest worker processes, however little there is to do")
    max_workers: int = option(8, "most worker processes, however much there is to do")
    busy_share: float = option(
        0.7,
        "share of the slots that should be busy; a smaller one leaves more slots free for those who come "
        "while a new worker loads its model",
    )
    scale_down_s: float = option(
        300.0,
        "seconds for which fewer workers would have been enough before some are told to end after their "
        "requests",
    )
    cores: float = option(
        1.0, "processor cores of the cluster that each worker reserves; fewer put more workers on a machine"
    )
    status_token_file: Path | None = option(
        None,
        "file that has nothing but a token with which the masters show their status; needed where they have "
        "tokens",
    )

    def validate(self) -> None:
        check_positive(self, "min_workers", "busy_share", "cores")
        if self.max_workers < self.min_workers:
            raise ConfigError(
                f"max_workers: expected at least min_workers, {self.min_workers}, found {self.max_workers}"
            )
        if self.busy_share > 1:
            raise ConfigError(f"busy_share: expected at most 1, found {self.busy_share}")
        if self.scale_down_s < 0:
            raise ConfigError(f"scale_down_s: expected 0 or more, found {self.scale_down_s}")

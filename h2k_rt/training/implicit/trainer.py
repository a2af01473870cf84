"""The training loop for the implicit function: :class:`Trainer` with other networks, another stage and another kind of data."""

from __future__ import annotations

from h2k_rt.errors import TrainingError
from h2k_rt.training.data import Source
from h2k_rt.training.implicit.networks import ViewNetworks, fresh_view_net, shape_of
from h2k_rt.training.implicit.stage import ImplicitStage, ViewSetSource
from h2k_rt.training.stages import Stage
from h2k_rt.training.state import Networks
from h2k_rt.training.trainer import Trainer


class ImplicitTrainer(Trainer):
    """One training of the second method; arguments and errors as for :class:`Trainer`."""

    def _make_networks(self, resuming: bool) -> Networks:
        job = self.job
        if job.people is not None:
            raise TrainingError(
                "--people draws single pictures; make view sets with h2k-rt data people --rig and give them with --data"
            )
        if len(job.initial) > 1 or job.restart:
            raise TrainingError(
                "--method implicit starts from one --init at most, without --restart: its networks are trained together"
            )
        net = fresh_view_net(job.config)
        if job.initial and not resuming:
            from h2k_export.views import load_view_net

            found = load_view_net(job.initial[0])
            if found.shape != shape_of(job.config):
                raise TrainingError(
                    f"{job.initial[0]} holds networks of {found.shape}, the configuration asks for {shape_of(job.config)}"
                )
            net.load_state_dict(found.state_dict())
        return ViewNetworks(net, job.config, self.world.device)

    def _make_stages(self) -> list[Stage]:
        stage: Stage = ImplicitStage(self.job.config, ViewSetSource(self.job.data))  # type: ignore[assignment]
        return [stage] if self.job.networks else []

    def _holdout(self, stage: Stage) -> Source:
        source: Source = ViewSetSource(self.job.holdout)  # type: ignore[assignment]
        return source

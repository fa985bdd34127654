"""The sections of a study's config about the run itself: where it computes, what it begins with, what it keeps."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrialResources(_Section):
    """What one trial takes of a machine of a cluster; Ray counts, and starts no more than fits.

    Attributes:
        cpus: Cores; parts of one are allowed.
        gpus: GPUs; 0.5 lets two trials share one.
        memory_gib: Memory; without it none is counted.
    """

    cpus: Annotated[float, Field(ge=0)] = 1.0
    gpus: Annotated[float, Field(ge=0)] = 0.0
    memory_gib: Annotated[float, Field(gt=0)] | None = None


class ComputeSettings(_Section):
    """Where the numerical work runs.

    Attributes:
        device: What trials compute on: ``cpu``, ``cuda``, or ``auto``, a GPU where there is one. Integer networks are
            judged on the CPU whatever it is.
        threads: Threads per worker. More than one changes the last digits of every result.
        jobs: Worker processes: so many trials run at a time, and a suggestion is made without the results of the last
            ``lag - 1``. A study is resumed with as many as it was started with.
        lag: A suggestion for trial n sees exactly n + 1 - lag trials, those that end first by their counted seconds;
            ``jobs`` if left out. More lets trials go on beside one that takes longer than is counted, and shows a
            suggestion less.
        cluster: Address of a Ray cluster whose machines run the trials, ``host:port``, or ``auto``; without it this
            machine does.
        resources: What each trial takes of a machine of the cluster.
    """

    device: Literal["cpu", "cuda", "auto"] = "cpu"
    threads: Annotated[int, Field(ge=1)] = 1
    jobs: Annotated[int, Field(ge=1)] = 1
    lag: Annotated[int, Field(ge=1)] | None = None
    cluster: Annotated[str, Field(min_length=1)] | None = None
    resources: TrialResources = TrialResources()

    @model_validator(mode="after")
    def _lag_covers_the_jobs(self) -> "ComputeSettings":
        if self.lag is not None and self.lag < self.jobs:
            raise ValueError(
                f"lag is {self.lag}, below the {self.jobs} jobs: so many could never run at a time; give at least "
                "jobs, or leave it out"
            )
        return self


class TrainingRecipe(_Section):
    """What trainings and fine-tunings do to the samples and the loss; how long and how fast is in ``[space]``.

    Attributes:
        augmentation: How samples are changed at random in every step: ``shift``, ``flip`` (left to right) and ``crop``
            for images; ``time_shift``, ``noise`` and ``mask`` (one band of the time and one of the coefficients becomes
            the mean, as in SpecAugment) for sound; ``time_shift``, ``noise``, ``mask``, ``scale`` and ``rotate`` (three
            axes) for motion. How much is the hyperparameter ``augmentation_strength``, 0 to 1.
        class_weights: ``balanced`` weighs a sample by how rare its class is, so that every class counts alike in the
            loss; ``none`` lets every sample count alike.
        precision: What trainings multiply in: ``float32``, or ``bfloat16`` where torch holds it to be safe (mixed
            precision; weights and their updates stay float32). Fine-tunings are in float32.
    """

    augmentation: tuple[Literal["shift", "flip", "crop", "time_shift", "noise", "mask", "scale", "rotate"], ...] = ()
    class_weights: Literal["none", "balanced"] = "none"
    precision: Literal["float32", "bfloat16"] = "float32"


class StoppingSettings(_Section):
    """When trainings end early, with the method ``fixed``: where no compression of theirs can add enough to the front.

    Attributes:
        rungs: Shares of a training's epochs at which its network is measured on the validation split.
        chance: A training is stopped at a rung where the chance that its end is worth its price is below it; 0, the
            default, stops none.
        worth: What the end has to bring, as a share of what its seconds have brought the study of late; 0 for anything
            at all.
        first_trainings: So many are finished before one is stopped: from them is learned what curves look like.
        finished_share: Share of the later ones that are finished all the same, so that the study goes on learning.
    """

    rungs: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.25, 0.5)
    chance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    worth: Annotated[float, Field(ge=0)] = 0.5
    first_trainings: Annotated[int, Field(ge=4)] = 8
    finished_share: Annotated[float, Field(ge=0, le=1)] = 0.1


class KeepSettings(_Section):
    """What is kept on disk.

    Attributes:
        models_mib: Above this size of all models the files of trials that another one beats are removed, the oldest
            first; trained weights and the models of the front stay. With a goal nothing is removed.
    """

    models_mib: Annotated[float, Field(ge=0)] = 1024.0


class ConfirmSettings(_Section):
    """How the errors of the front are confirmed when the search is over.

    A model is on the front because its one measurement was low, some of them by luck. Each is therefore made again with
    other seeds; the mean error of these repeats, without the first measurement, is the honest one.

    Attributes:
        seeds: How many further seeds every model of the front is compressed and fine-tuned with, its policy kept; none
            by default, two at least for an interval. The repeats' files are not kept.
        trainings: Whether its network is trained anew with every one of these seeds, too.
        folds: In the place of seeds: into how many folds all samples but the test split's are cut, by group where there
            are such. Every model is trained anew on all folds but one and measured on that one, once for each.
    """

    seeds: Annotated[int, Field(ge=0)] = 0
    trainings: bool = False
    folds: Annotated[int, Field(ge=2)] | None = None

    @property
    def repeats(self) -> int:
        """How often every model is made again."""
        return self.seeds if self.folds is None else self.folds

    @property
    def trained_folds(self) -> int:
        """What the repeats say of themselves, see :class:`mobo.space.confirmation.Repeat`."""
        return int(self.trainings) if self.folds is None else self.folds


class RetrainSettings(_Section):
    """The last training: the models of the front once more, on what the search held back to choose by.

    Attributes:
        front: Whether it is done at the end of the search; architecture, policy, recipe and seed stay as they are.
        validation: Whether the validation split is trained on, too, beside train and reward; then nothing but the test
            split says how good the model is.
    """

    front: bool = False
    validation: bool = False


class StartSettings(_Section):
    """What a study begins with.

    Attributes:
        trainings: Folder of an earlier run of the same task and family: its trained networks are compressed for this
            study's board first, and the sampler may ask for further compressions of them, all without training.
        most: How many of them are taken, those of the earlier front first.
        studies: Folders of earlier runs that searched the same hyperparameters, or more, on another board or other
            data: their fronts are tried first, and what they found is expected here as far as measurements agree.
        designs: How many designs of their fronts are tried first.
    """

    trainings: Path | None = None
    most: Annotated[int, Field(ge=1)] = 16
    studies: tuple[Path, ...] = ()
    designs: Annotated[int, Field(ge=0)] = 5

"""How the agents learn."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """How the agent learns; the defaults were chosen on hand-made error functions and on networks of other seeds.

    Attributes:
        learning_rate: Of actor and critics.
        hidden_units: Widths of the hidden layers of actor and critics.
        batch_size: Transitions per gradient step.
        gradient_steps: Gradient steps after each turn.
        demonstration_share: Share of the evaluations spent on demonstrations; 0 starts with random episodes.
        candidates: Episodes to choose from before each evaluation, every second of them random, beside what the model
            of whole policies proposes; 1 takes the actor's own.
        exploration: Standard deviation of the noise on the best episodes' actions at the start; falls to a third.
        entropy_coefficient: Start of SAC's learned entropy coefficient.
        n_step_returns: Whether a whole episode's return is learned from at once, instead of one step's.
        policy_model: Whether a model of whole policies proposes, and votes beside the critics.
        push: Whether candidates are pushed to the wall.
    """

    learning_rate: float = 1e-3
    hidden_units: tuple[int, ...] = (64, 64)
    batch_size: int = 64
    gradient_steps: int = 10
    demonstration_share: float = 0.25
    candidates: int = 48
    exploration: float = 0.3
    entropy_coefficient: float = 0.1
    n_step_returns: bool = True
    policy_model: bool = True
    push: bool = True

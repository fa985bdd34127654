"""The errors that are answers to bad input, one base class per package."""

from envs.errors import EnvError
from hw_models.errors import HardwareModelError
from mobo.base.errors import MoboError

EXPECTED_ERRORS = (HardwareModelError, EnvError, MoboError)

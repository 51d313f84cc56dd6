"""The public names, for type checkers; `__init__.py` loads each when it is used."""

from evolcoder.api import compare_samples as compare_samples
from evolcoder.api import evaluate_judged as evaluate_judged
from evolcoder.api import evaluate_model as evaluate_model
from evolcoder.api import evolve_instructions as evolve_instructions
from evolcoder.api import reinforce_model as reinforce_model
from evolcoder.api import run_recipe as run_recipe
from evolcoder.api import score_samples as score_samples
from evolcoder.api import train_model as train_model
from evolcoder.errors import EvolcoderError as EvolcoderError
from evolcoder.evaluate.model_judge.settings import JudgeSettings as JudgeSettings
from evolcoder.evaluate.settings import EvaluationSettings as EvaluationSettings
from evolcoder.evolve.settings import EvolveSettings as EvolveSettings
from evolcoder.instructions import read_instructions as read_instructions
from evolcoder.instructions import write_instructions as write_instructions
from evolcoder.models.endpoint.settings import EndpointSettings as EndpointSettings
from evolcoder.models.local.settings import LocalSettings as LocalSettings
from evolcoder.records import Instruction as Instruction
from evolcoder.records import Lineage as Lineage
from evolcoder.reinforce.judge import judge as judge
from evolcoder.reinforce.settings import ReinforceSettings as ReinforceSettings
from evolcoder.reinforce.tasks import read_tasks as read_tasks
from evolcoder.train.settings import TrainSettings as TrainSettings

__version__: str

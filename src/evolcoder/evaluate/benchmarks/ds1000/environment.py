"""The environment that DS-1000's programs run in: libraries of fixed versions, and their data sets."""

from __future__ import annotations

from evolcoder.evaluate.benchmarks.ds1000 import data_sets
from evolcoder.evaluate.environments import EnvironmentSpec

_LIBRARIES = """
numpy pandas scipy scipy.integrate scipy.interpolate scipy.ndimage scipy.optimize scipy.signal scipy.sparse
scipy.spatial scipy.stats sklearn sklearn.cluster sklearn.datasets sklearn.decomposition sklearn.ensemble
sklearn.feature_extraction.text sklearn.impute sklearn.linear_model sklearn.model_selection sklearn.neighbors
sklearn.pipeline sklearn.preprocessing sklearn.svm sklearn.tree matplotlib.pyplot seaborn PIL.Image torch
statsmodels.api xgboost lightgbm nltk gensim yaml tensorflow
"""
_DATA_FOLDER = "ds1000_data"
ENVIRONMENT = EnvironmentSpec(
    name="ds1000",
    python="3.11",  # the newest that pandas 1.5 runs under
    package="evolcoder.evaluate.benchmarks.ds1000",
    lock="ds1000-lock.txt",
    preimport=tuple(_LIBRARIES.split()),
    variables=(
        ("MPLBACKEND", "Agg"),
        ("SEABORN_DATA", f"{{packages}}/{_DATA_FOLDER}/seaborn"),
        ("SCIKIT_LEARN_DATA", f"{{packages}}/{_DATA_FOLDER}/sklearn"),
        ("CUDA_VISIBLE_DEVICES", ""),
        ("TF_CPP_MIN_LOG_LEVEL", "3"),
        ("TF_ENABLE_ONEDNN_OPTS", "0"),  # rounding then does not depend on the processor
        ("TF_NUM_INTEROP_THREADS", "1"),
        ("TF_NUM_INTRAOP_THREADS", "1"),
    ),
    data_folder=_DATA_FOLDER,
    gather_data=data_sets.gather,
)

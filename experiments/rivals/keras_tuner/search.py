"""Keras Tuner as its guide has it: a function that builds the network, Bayesian optimisation, the best by accuracy.

Of size it knows ``max_model_size``, the most parameters a network may have: one for every byte of the limit on flash.
"""

# mypy: ignore-errors
# It runs in an environment of its own.

import sys
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

MAX_TRIALS = 100_000


def hypermodel(shape: tuple[int, ...], classes: int):
    """Return the function that builds a network from hyperparameters."""
    height, width, _ = shape

    def build(hp: keras_tuner.HyperParameters) -> keras.Model:
        layers = [keras.layers.Input(shape)]
        size = hp.Choice("kernel", [3, 5])
        kernel = tuple(1 if length == 1 else size for length in (height, width))
        kind = {"plain": keras.layers.Conv2D, "separable": keras.layers.SeparableConv2D}
        filters = hp.Choice("filters", [4, 8, 12, 16, 24, 32])
        growth = hp.Choice("growth", [1.0, 1.5, 2.0])
        convolution = kind[hp.Choice("kind", list(kind))]
        count = hp.Int("layers", 1, 4)
        rest = [height, width]
        for number in range(count):
            out = 4 * round(filters * growth**number / 4)
            layers += [
                convolution(out, kernel, padding="same", use_bias=False),
                keras.layers.BatchNormalization(),
                keras.layers.ReLU(),
            ]
            pool = tuple(2 if length > 1 else 1 for length in rest)
            if number + 1 < count and pool != (1, 1):
                layers.append(keras.layers.MaxPooling2D(pool))
                rest = [length // step for length, step in zip(rest, pool, strict=True)]
        layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes, activation="softmax")]
        network = keras.Sequential(layers)
        rate = hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
        network.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return network

    return build


def int8_file(network: keras.Model, samples: np.ndarray) -> bytes:
    """Return the file that TensorFlow's page on full integer quantisation makes."""
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples[:256])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def main(splits_path: Path, out: Path, seed: int, *, deliver: bool) -> None:
    """Search until killed, or deliver the best network of the trials that ended."""
    splits = np.load(splits_path)
    tuner = keras_tuner.BayesianOptimization(
        hypermodel(splits["x_train"].shape[1:], int(splits["classes"])),
        objective="val_accuracy",
        max_trials=MAX_TRIALS,
        max_model_size=int(splits["flash_bytes"]),
        seed=seed,
        directory=out / "tuner",
        project_name="rival",
    )
    if deliver:
        (out / "delivered").mkdir()
        (best,) = tuner.get_best_models(1)
        (out / "delivered" / "best.tflite").write_bytes(int8_file(best, splits["x_train"]))
        done = [trial for trial in tuner.oracle.trials.values() if trial.status == "COMPLETED"]
        (out / "trained.txt").write_text(str(len(done)))
        return
    tuner.search(
        splits["x_train"],
        splits["y_train"],
        validation_data=(splits["x_validation"], splits["y_validation"]),
        epochs=int(splits["epochs"]),
        batch_size=int(splits["batch_size"]),
        verbose=2,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), deliver="--deliver" in sys.argv)

"""AutoKeras as its page on customised search spaces has it: image input, convolutions, a head; greedy search.

Its ``ImageClassifier`` goes on to ResNet-50 and EfficientNet-B7 on maps of 224 x 224 with downloaded weights. Of size
it knows ``max_model_size``, which ends in an error where its first network has more parameters (28,394 on digits).
"""

# mypy: ignore-errors
# It runs in an environment of its own.

import json
import sys
from pathlib import Path

import autokeras
import keras
import numpy as np
import tensorflow as tf

MAX_TRIALS = 100_000


def int8_file(network: keras.Model, samples: np.ndarray) -> bytes:
    """Return the file that TensorFlow's page on full integer quantisation makes."""
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples[:256])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def finish(project: Path) -> int:
    """Drop the trial that was cut short, which would be trained anew, and return how many are complete."""
    path = project / "oracle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "ongoing_trials": {}}))
    return sum(json.loads(trial.read_text())["status"] == "COMPLETED" for trial in project.glob("trial_*/trial.json"))


def main(splits_path: Path, out: Path, seed: int, *, deliver: bool) -> None:
    """Search until killed, or reload the search as finished and deliver its best network."""
    splits = np.load(splits_path)
    complete = finish(out / "tuner" / "rival") if deliver else 0
    entry = autokeras.ImageInput()
    found = autokeras.ConvBlock()(entry)
    found = autokeras.ClassificationHead(num_classes=int(splits["classes"]))(found)
    model = autokeras.AutoModel(
        inputs=entry,
        outputs=found,
        objective="val_accuracy",
        max_trials=1 if deliver else MAX_TRIALS,
        seed=seed,
        directory=out / "tuner",
        project_name="rival",
    )
    model.fit(
        splits["x_train"],
        splits["y_train"],
        validation_data=(splits["x_validation"], splits["y_validation"]),
        epochs=int(splits["epochs"]),
        batch_size=int(splits["batch_size"]),
        # Its own, which given here spares a second training of the best network.
        callbacks=[keras.callbacks.EarlyStopping(patience=10, min_delta=1e-4)],
        verbose=2,
    )
    if deliver:
        (out / "delivered").mkdir()
        (out / "delivered" / "best.tflite").write_bytes(int8_file(model.export_model(), splits["x_train"]))
        (out / "trained.txt").write_text(str(complete))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), deliver="--deliver" in sys.argv)

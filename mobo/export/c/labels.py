"""What stands behind the network of a regression in the C project: from its integer outputs to labels in their unit."""

import numpy as np
import numpy.typing as npt

from envs.compression.integer.network import QuantisedNetwork
from mobo.base.markdown import literal
from mobo.export.c.model import float_literal
from mobo.export.c.text import array, comment
from mobo.export.request import ExportRequest, Integers, LabelScale

LABEL_SOURCE = "model_labels.c"
"""What is compiled beside ``model.c``."""

_HEADER = """\
/* {title}: what the network estimates, in the unit of the labels it was trained with.
 *
{about}
 */
#ifndef MODEL_LABELS_H
#define MODEL_LABELS_H

#include "model.h"

#ifdef __cplusplus
extern "C" {{
#endif

/* What one step of an output is worth. */
#define MODEL_LABEL_STEP {step}f

/* Turns what model_predict wrote, MODEL_OUTPUTS integers, into as many labels: means + step * (output - zero point). */
void model_labels(const model_output *output, float *labels);

#ifdef __cplusplus
}}
#endif

#endif
"""

_SOURCE = """\
/* {title} */
#include "model_labels.h"

{means}
void model_labels(const model_output *output, float *labels) {{
  int i;
  for (i = 0; i < MODEL_OUTPUTS; ++i) {{
    /* Rounded before the mean is added, also where a core could do both at once: every core gives the same number. */
    const volatile float above = MODEL_LABEL_STEP * (float)(output[i] - MODEL_OUTPUT_ZERO_POINT);
    labels[i] = label_means[i] + above;
  }}
}}
"""

_TEST = """\
/* Turns the outputs of the test vectors into labels on the host; 0 when every label is the expected one, to the bit. */
#include <stdio.h>
#include <string.h>

#include "../model_labels.h"
#include "label_vectors.h"
#include "test_vectors.h"

int main(void) {
  int wrong = 0, i;
  for (i = 0; i < TEST_VECTORS; ++i) {
    float labels[MODEL_OUTPUTS];
    model_labels(test_outputs + (size_t)i * MODEL_OUTPUTS, labels);
    if (memcmp(labels, expected_labels + (size_t)i * MODEL_OUTPUTS, sizeof labels) != 0) {
      printf("test vector %d: another label than expected\\n", i);
      ++wrong;
    }
  }
  printf("%d of %d labels as expected\\n", TEST_VECTORS - wrong, TEST_VECTORS);
  return wrong != 0;
}
"""

_README = """\
## Labels

```c
#include "model_labels.h"

float labels[MODEL_OUTPUTS];
model_predict(NULL, scores);
model_labels(scores, labels); /* {names}, in {unit} */
```

The network estimates standardised labels; `model_labels` puts mean and deviation of the training labels back. One step
of an output is {step:.4g} {unit}: nothing finer can be told. What `model_predict` returns means nothing.
"""


def label_step(network: QuantisedNetwork, labels: LabelScale) -> np.float32:
    """Return what one step of an output is worth in the labels' unit."""
    return np.float32(float(network.tensors[network.graph.output].scale) * labels.deviation)


def label_values(network: QuantisedNetwork, labels: LabelScale, outputs: Integers) -> npt.NDArray[np.float32]:
    """Return labels as the C computes them, to the bit.

    Args:
        network: The network.
        labels: What its outputs stand for.
        outputs: int8 or int16, N x outputs.
    """
    steps = outputs.astype(np.int32) - network.tensors[network.graph.output].zero_point
    means = np.array(labels.mean, np.float32)
    values: npt.NDArray[np.float32] = means + label_step(network, labels) * steps.astype(np.float32)
    return values


def label_files(request: ExportRequest, title: str) -> dict[str, str]:
    """Return the sources that turn outputs into labels by path; none where labels are classes."""
    labels, network = request.labels, request.network
    if labels is None:
        return {}
    about = [f"Output {index}: {name}, in {labels.unit}" for index, name in enumerate(labels.names)]
    header = _HEADER.format(
        title=comment(title),
        about="\n".join(f" * {comment(line)}" for line in about),
        step=float_literal(float(label_step(network, labels))),
    )
    means = array("float label_means", [f"{float_literal(mean)}f" for mean in labels.mean])
    return {"model_labels.h": header, LABEL_SOURCE: _SOURCE.format(title=comment(title), means=means)}


def label_test(request: ExportRequest) -> dict[str, str]:
    """Return the test of what turns outputs into labels by path; none where labels are classes."""
    if request.labels is None:
        return {}
    expected = label_values(request.network, request.labels, request.test_outputs)
    vectors = array("float expected_labels", [f"{float_literal(float(value))}f" for value in expected.reshape(-1)])
    return {
        "test/test_labels.c": _TEST,
        "test/label_vectors.h": f"/* The labels of the test vectors. */\n{vectors}",
    }


def predict_call(request: ExportRequest) -> str:
    """Return the line of C that runs the network, for examples."""
    return "model_predict(NULL, scores);" if request.labels else "int class = model_predict(NULL, scores);"


def labels_readme(request: ExportRequest) -> str:
    """Return what the project's README says of labels; empty where they are classes."""
    labels = request.labels
    if labels is None:
        return ""
    return _README.format(
        names=literal(", ".join(labels.names)),
        unit=literal(labels.unit),
        step=float(label_step(request.network, labels)),
    )

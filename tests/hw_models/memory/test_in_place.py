from hw_models.graph.layer_graph import (
    INPUT,
    ActivationLayer,
    Add,
    Conv2D,
    LayerGraph,
    Patches,
    Quantize,
    Reshape,
    Softmax,
)
from hw_models.memory.in_place import shared_buffers


def conv(name: str, source: str) -> Conv2D:
    return Conv2D(name=name, inputs=(source,), out_channels=4, kernel=(1, 1))


def owners(*layers) -> dict[str, str]:
    return dict(shared_buffers(LayerGraph((2, 2, 4), layers)))


def test_an_elementwise_layer_takes_over_the_first_input_that_dies():
    found = owners(conv("a", INPUT), Add(name="sum", inputs=(INPUT, "a")), Add(name="more", inputs=("sum", "a")))
    # the input dies at the first addition, its buffer goes on as the sum's and then as that of the sum of sums
    assert found == {INPUT: INPUT, "a": "a", "sum": INPUT, "more": INPUT}


def test_what_is_read_later_is_not_written_over():
    found = owners(
        ActivationLayer(name="relu", inputs=(INPUT,), activation="relu"), Add(name="s", inputs=(INPUT, "relu"))
    )
    assert found["relu"] == "relu"
    assert found["s"] == INPUT


def test_a_reshape_is_the_same_bytes_and_keeps_them_alive():
    layers = (Reshape(name="flat", inputs=(INPUT,)), Softmax(name="soft", inputs=("flat",)), conv("c", INPUT))
    found = owners(*layers)
    # the map under its first name is still read by the last layer
    assert found["flat"] == INPUT
    assert found["soft"] == "soft"


def test_a_conversion_writes_over_its_input_unless_it_widens():
    found = owners(
        Quantize(name="wide", inputs=(INPUT,), output_bits=16), Quantize(name="narrow", inputs=("wide",), output_bits=8)
    )
    assert found == {INPUT: INPUT, "wide": "wide", "narrow": "wide"}


def test_convolutions_never_write_over_their_input():
    assert owners(conv("a", INPUT), conv("b", "a")) == {INPUT: INPUT, "a": "a", "b": "b"}


def test_the_next_patch_reads_the_input_again_and_the_cut_has_a_buffer_of_its_own():
    first = ActivationLayer(name="relu", inputs=(INPUT,), activation="relu")
    second = Add(name="sum", inputs=("relu", INPUT))
    third = ActivationLayer(name="cut", inputs=("sum",), activation="relu")
    fourth = ActivationLayer(name="last", inputs=("cut",), activation="relu")
    graph = LayerGraph((2, 2, 4), (first, second, third, fourth), patches=Patches("cut", 1))
    assert shared_buffers(graph) == {INPUT: INPUT, "relu": "relu", "sum": "relu", "cut": "cut", "last": "cut"}

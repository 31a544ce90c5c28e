"""nnet2 networks against nnet-compute and nnet-am-compute; layers that these do not hold, by definition."""

from pathlib import Path

import numpy as np
import pytest

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.feat.online_feature import FrameBuffer, OnlineFeatureInterface, OnlineMatrixFeature
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.nnet2 import (
    AmNnet,
    DecodableNnet2Online,
    DecodableNnet2OnlineOptions,
    Nnet,
    NnetOnlineComputer,
)
from pykaldi_server.kaldi.util.io import KaldiReader

NAMES = ["pnorm", "multisplice", "sigmoid", "conv"]
MODELS = ["pnorm", "multisplice", "sigmoid"]


@pytest.fixture
def networks(request: pytest.FixtureRequest) -> Path:
    """The folder with the network ``name`` of the test: two are in every clone, all where the rest is."""
    callspec = getattr(request.node, "callspec", None)
    name = callspec.params.get("name", "pnorm") if callspec else "pnorm"
    own: Path = request.getfixturevalue("golden") / "networks"
    if (own / f"nnet2-{name}.raw").exists():
        return own
    shared: Path = request.getfixturevalue("shared_golden")
    return shared / "networks"


def read_features(networks: Path, name: str) -> np.ndarray:
    features = np.load(networks / "features.npz")
    found: np.ndarray = features["features_and_ivectors" if name == "multisplice" else "features"]
    return found


def read_raw(networks: Path, name: str) -> Nnet:
    reader = KaldiReader.open(networks / f"nnet2-{name}.raw")
    nnet = Nnet.read(reader)
    reader.expect_end()
    return nnet


def read_model(path: Path) -> tuple[TransitionModel, AmNnet]:
    reader = KaldiReader.open(path)
    model = TransitionModel.read(reader), AmNnet.read(reader)
    reader.expect_end()
    return model


def as_logarithms(outputs: np.ndarray, name: str) -> np.ndarray:
    return outputs if name == "conv" else np.log(outputs)


@pytest.mark.parametrize("name", NAMES)
def test_whole_recordings_as_nnet_compute(networks: Path, name: str) -> None:
    found = read_raw(networks, name).compute(read_features(networks, name))
    # Single precision on both sides; the logarithms go down to about -10.
    np.testing.assert_allclose(
        as_logarithms(found, name), np.load(networks / f"nnet2-{name}.npy"), atol=3e-5, rtol=0
    )


@pytest.mark.parametrize("name", MODELS)
def test_division_by_priors_as_nnet_am_compute(networks: Path, name: str) -> None:
    _, model = read_model(networks / f"nnet2-{name}.mdl")
    found = np.log(model.nnet.compute(read_features(networks, name))) - np.log(model.priors)
    found -= np.logaddexp.reduce(found, axis=1, keepdims=True)  # that program normalises at the end
    np.testing.assert_allclose(found, np.load(networks / f"nnet2-{name}.am-priors.npy"), atol=3e-5, rtol=0)


def test_text_form_gives_the_same(networks: Path) -> None:
    _, model = read_model(networks / "nnet2-pnorm.txt")
    found = np.log(model.nnet.compute(read_features(networks, "pnorm")))
    # The text has seven digits of each parameter.
    np.testing.assert_allclose(found, np.load(networks / "nnet2-pnorm.npy"), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("block_frames", [1, 7, 500])
def test_a_stream_gives_what_the_whole_recording_gives(networks: Path, name: str, block_frames: int) -> None:
    nnet, features = read_raw(networks, name), read_features(networks, name)
    computer = NnetOnlineComputer(nnet)
    outputs = []
    for begin in range(0, len(features), block_frames):
        outputs.append(computer.compute(features[begin : begin + block_frames]))
        fed = min(begin + block_frames, len(features))
        assert sum(map(len, outputs)) == max(0, fed - nnet.right_context())
    outputs.append(computer.flush())
    np.testing.assert_allclose(
        as_logarithms(np.concatenate(outputs), name),
        np.load(networks / f"nnet2-{name}.npy"),
        atol=3e-5,
        rtol=0,
    )


def test_without_padding_the_outermost_frames_have_no_output(networks: Path) -> None:
    nnet, features = read_raw(networks, "pnorm"), read_features(networks, "pnorm")
    inner = nnet.compute(features, pad_input=False)
    assert (nnet.left_context(), nnet.right_context()) == (3, 1)
    np.testing.assert_allclose(inner, nnet.compute(features)[3:-1], rtol=1e-5)
    assert nnet.compute(features[:4], pad_input=False).shape == (0, 30)
    assert nnet.compute(features[:0]).shape == (0, 30)


class GrowingFeature(OnlineFeatureInterface):
    """A stream that is given its frames bit by bit."""

    def __init__(self, dim: int):
        self._frames = FrameBuffer(dim)
        self._finished = False

    def dim(self) -> int:
        return int(self._frames.get(0, 0).shape[1])

    def num_frames_ready(self) -> int:
        return self._frames.end

    def is_last_frame(self, frame: int) -> bool:
        return self._finished and frame == self._frames.end - 1

    def get_frames(self, begin: int, end: int) -> np.ndarray:
        return self._frames.get(begin, end)

    def accept(self, frames: np.ndarray, finished: bool) -> None:
        self._frames.append(frames)
        self._finished = finished


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("pad_input", [True, False])
def test_the_decodable_scores_each_frame_as_soon_as_it_can(
    networks: Path, name: str, pad_input: bool
) -> None:
    trans_model, model = read_model(networks / f"nnet2-{name}.mdl")
    features = read_features(networks, name)
    options = DecodableNnet2OnlineOptions(acoustic_scale=0.5, pad_input=pad_input, max_nnet_batch_size=3)
    stream = GrowingFeature(features.shape[1])
    decodable = DecodableNnet2Online(model, trans_model, options, stream)
    blocks = []
    for begin in range(0, len(features), 11):
        stream.accept(features[begin : begin + 11], finished=begin + 11 >= len(features))
        blocks.append(decodable.advance())
        assert sum(map(len, blocks)) == decodable.num_frames_ready()
        assert decodable.advance().shape == (0, 30)
    assert decodable.is_last_frame(sum(map(len, blocks)) - 1)
    expected = np.log(model.nnet.compute(features, pad_input)) - np.log(model.priors)
    np.testing.assert_allclose(np.concatenate(blocks), 0.5 * expected, atol=2e-5, rtol=0)


class ChangingIvectors(GrowingFeature):
    """Gives the newest i-vector with every frame that is asked for, as a server's pipeline does."""

    def get_frames(self, begin: int, end: int) -> np.ndarray:
        frames = super().get_frames(begin, end)
        frames[:, 40:] = super().get_frames(self.num_frames_ready() - 1, self.num_frames_ready())[:, 40:]
        return frames


def test_a_block_is_computed_with_the_ivector_of_its_time(networks: Path) -> None:
    trans_model, model = read_model(networks / "nnet2-multisplice.mdl")
    features = read_features(networks, "multisplice")
    stream = ChangingIvectors(features.shape[1])
    decodable = DecodableNnet2Online(model, trans_model, DecodableNnet2OnlineOptions(), stream)
    stream.accept(features[:50], finished=False)
    first = decodable.advance()
    stream.accept(features[50:90], finished=False)
    second = decodable.advance()
    for block, begin, ready in ((first, 0, 50), (second, 44, 90)):
        seen = features[:ready].copy()
        seen[:, 40:] = features[ready - 1, 40:]
        expected = np.log(model.nnet.compute(seen))[begin : ready - 6] - np.log(model.priors)
        np.testing.assert_allclose(block, 0.1 * expected, atol=2e-6)


def test_parts_that_do_not_fit_are_refused(networks: Path) -> None:
    trans_model, model = read_model(networks / "nnet2-pnorm.mdl")
    options = DecodableNnet2OnlineOptions()
    features = OnlineMatrixFeature(np.zeros((1, 39), np.float32))
    with pytest.raises(ModelFormatError, match="expected features of dimension 40, found 39"):
        DecodableNnet2Online(model, trans_model, options, features)
    without_priors = AmNnet(model.nnet, model.priors[:0])
    features = OnlineMatrixFeature(np.zeros((1, 40), np.float32))
    with pytest.raises(ModelFormatError, match="found 30 outputs and 0 priors"):
        DecodableNnet2Online(without_priors, trans_model, options, features)


def single_layer(text: str) -> Nnet:
    whole = f"<Nnet> <NumComponents> 1 <Components> {text} </Components> </Nnet> "
    return Nnet.read(KaldiReader(whole.encode(), "net"))


@pytest.mark.parametrize(
    ("text", "inputs", "outputs"),
    [
        (
            "<MixtureProbComponent> <LearningRate> 0.1 <Params> 2 [ 1 2 ]\n [ 3 \n 4 ]\n <IsGradient> F "
            "</MixtureProbComponent>",
            [[1, 2, 3]],
            [[5, 9, 12]],
        ),
        ("<SumGroupComponent> <Sizes> [ 1 2 ]\n<SumGroupComponent>", [[1, 2, 3]], [[1, 5]]),
        (
            "<SpliceMaxComponent> <Dim> 1 <LeftContext> 1 <RightContext> 0 </SpliceMaxComponent>",
            [[3], [1], [2]],
            [[3], [3], [2]],
        ),
        (
            "<DropoutComponent> <Dim> 2 <DropoutScale> 0 <DropoutProportion> 0.5 </DropoutComponent>",
            [[1, 2]],
            [[1, 2]],
        ),
        ("<SoftmaxComponent> <Dim> 2 <Counts> [ ] </SoftmaxComponent>", [[0, 200]], [[1e-20, 1]]),
        ("<SoftmaxComponent> <Dim> 2 </SoftmaxComponent>", [[0, 0]], [[0.5, 0.5]]),
        ("<DctComponent> <Dim> 2 <DctDim> 2 <Reorder> F </DctComponent>", [[1, 1]], [[2**0.5, 0]]),
        (
            "<Convolutional1dComponent> <LearningRate> 1 <PatchDim> 1 <PatchStep> 1 <PatchStride> 2 "
            "<AppendedConv> T <FilterParams> [ 1 10 ]\n<BiasParams> [ 0 ] </Convolutional1dComponent>",
            [[1, 2, 3, 4]],
            [[21, 43]],
        ),
    ],
)
def test_layers_by_definition(text: str, inputs: list[list[float]], outputs: list[list[float]]) -> None:
    found = single_layer(text).compute(np.array(inputs, np.float32))
    np.testing.assert_allclose(found, np.array(outputs), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<NoSuchComponent> </NoSuchComponent>", "expected a type of nnet2 components"),
        ("<TanhComponent> <Foo> 1 </TanhComponent>", "expected a field of a TanhComponent, found '<Foo>'"),
        ("<TanhComponent> </TanhComponent>", "expected <Dim> in <TanhComponent>, found none"),
        (
            "<TanhComponent> <Dim> 2000000000 </TanhComponent>",
            "expected an input dimension from 1 to 1000000 in <TanhComponent>, found 2000000000",
        ),
        ("<TanhComponent> <Dim> -1 </TanhComponent>", "in <TanhComponent>, found -1"),
        (
            "<PermuteComponent> <Reorder> [ 0 2 ]\n</PermuteComponent>",
            "found an order that is not a permutation: [0 2]",
        ),
        (
            "<SpliceComponent> <InputDim> 2 <LeftContext> 900000000 <RightContext> 0 <ConstComponentDim> 0 "
            "</SpliceComponent>",
            "found a left context of 900000000",
        ),
        (
            "<SpliceComponent> <InputDim> 2 <Context> [ 1 2 ]\n<ConstComponentDim> 0 </SpliceComponent>",
            "found the context (1, 2)",
        ),
        (
            "<FixedAffineComponent> <LinearParams> [ 1 2 ]\n <BiasParams> [ 1 2 ]\n</FixedAffineComponent>",
            "found weights (1, 2) and a bias of 2",
        ),
        ("<FixedBiasComponent> <Bias> [ nan ]\n</FixedBiasComponent>", "expected finite numbers"),
        (
            "<PnormComponent> <InputDim> 5 <OutputDim> 2 <P> 2 </PnormComponent>",
            "found 5 numbers in 2 groups",
        ),
        (
            "<DctComponent> <Dim> 900000000 <DctDim> 900000000 <Reorder> F </DctComponent>",
            "found dimension 900000000",
        ),
    ],
)
def test_damaged_layers_are_refused_with_the_place(text: str, message: str) -> None:
    with pytest.raises(ModelFormatError, match=r"net: at byte \d+: ") as raised:
        single_layer(text)
    assert message in str(raised.value)


def test_layers_that_do_not_fit_are_refused() -> None:
    layers = "<TanhComponent> <Dim> 2 </TanhComponent> <TanhComponent> <Dim> 3 </TanhComponent>"
    whole = f"<Nnet> <NumComponents> 2 <Components> {layers} </Components> </Nnet>"
    with pytest.raises(ModelFormatError, match="expected component 1 to take frames of dimension 2, found 3"):
        Nnet.read(KaldiReader(whole.encode()))

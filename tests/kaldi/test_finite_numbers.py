"""Huge, tiny and impossible numbers in models: a clear error, or nothing but finite results.

Each case writes a good object in Kaldi's text form, replaces some of its numbers, reads it again and uses it
as recognition does. Warnings of NumPy are errors in these tests, so none leaks.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykaldi_server.errors import ConfigError, DecoderError, ModelFormatError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.feat import MfccOptions, OnlineMatrixFeature, OnlineMfcc, OnlinePlp, PlpOptions
from pykaldi_server.kaldi.feat.cmvn import OnlineCmvn, OnlineCmvnOptions, OnlineCmvnState, read_cmvn_stats
from pykaldi_server.kaldi.feat.fbank import FbankOptions, OnlineFbank
from pykaldi_server.kaldi.feat.online_feature import OnlineTransform, read_transform
from pykaldi_server.kaldi.fstext import StdArc, StdConstFst, StdVectorFst
from pykaldi_server.kaldi.gmm import AmDiagGmm, DiagGmm
from pykaldi_server.kaldi.hmm import HmmState, HmmTopology, TransitionModel
from pykaldi_server.kaldi.ivector import IvectorExtractor, OnlineIvectorEstimationStats
from pykaldi_server.kaldi.nnet2 import AmNnet, DecodableNnet2Online, DecodableNnet2OnlineOptions
from pykaldi_server.kaldi.nnet3 import (
    AmNnetSimple,
    DecodableNnetLoopedOnline,
    DecodableNnetSimpleLoopedInfo,
    NnetSimpleLoopedComputationOptions,
)
from pykaldi_server.kaldi.online2 import (
    OnlineIvectorExtractionConfig,
    OnlineIvectorExtractionInfo,
    OnlineIvectorFeature,
    OnlineSpliceOptions,
)
from pykaldi_server.kaldi.online2.gmm_decodable import DecodableDiagGmmScaledOnline
from pykaldi_server.kaldi.transform import BasisFmllrEstimate, BasisFmllrOptions, FmllrDiagGmmAccs
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter

DIM, PDFS, GAUSSIANS, IVECTOR_DIM = 3, 2, 4, 2
NUMBER = re.compile(r"(?<=\s)-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?=\s)")
VALUES = [
    *("0", "-0", "1e-320", "1e-45", "1e-38", "1e-20", "-1e-20", "1e10", "-1e10", "1e19", "-1e19", "1e20"),
    *("3e38", "-3e38", "1e39", "-1e39", "1e100", "1e155", "-1e155", "1e200", "1e308", "-1e308"),
    *("nan", "inf", "-inf"),
]
FRAMES = np.random.default_rng(1).normal(0, 20, size=(40, DIM)).astype(np.float32)


def written(write: Callable[[KaldiWriter], None]) -> str:
    file = io.BytesIO()
    write(KaldiWriter(file, binary=False))
    return file.getvalue().decode()


@st.composite
def with_other_numbers(draw: st.DrawFn, text: str) -> str:
    """The text with one to four of its numbers, or with all of them, replaced."""
    spans = [match.span() for match in NUMBER.finditer(text)]
    chosen = draw(st.lists(st.sampled_from(spans), min_size=1, max_size=4, unique=True))
    if draw(st.integers(0, 9)) == 0:  # all numbers of one size
        chosen, values = spans, st.just(draw(st.sampled_from(VALUES)))
    else:
        values = st.sampled_from(VALUES)
    for start, end in sorted(chosen, reverse=True):
        text = text[:start] + draw(values) + text[end:]
    return text


def reader_of(text: str) -> KaldiReader:
    return KaldiReader(text.encode(), "some.mdl", binary=False)


def refusal(use: Callable[[], None]) -> str | None:
    """Uses numbers; returns what the error says where they are refused."""
    try:
        use()
    except (ConfigError, DecoderError, ModelFormatError) as error:
        return str(error)
    return None


def is_clear(text: str | None) -> bool:
    """True for no error, and for one that says what is wrong."""
    return text is None or re.search(r"expected .*found |NaN|[Nn]o path|survives", text) is not None


def transition_model() -> TransitionModel:
    topology = HmmTopology([[HmmState(0, 0, [(0, 0.5), (1, 0.5)]), HmmState()]], {1: 0, 2: 0})
    tuples = np.array([[1, 0, 0, 0], [2, 0, 1, 1]], np.int32)
    return TransitionModel(topology, tuples, np.array([0, -0.7, -0.7, -0.7, -0.7], np.float32))


def search(log_likelihoods: np.ndarray) -> None:
    """Decodes; what comes out is finite."""
    graph = StdVectorFst()
    graph.add_state()
    graph.set_start(0)
    graph.set_final(0, 0.0)
    model = transition_model()
    for transition_id in range(1, model.num_transition_ids() + 1):
        graph.add_arc(0, StdArc(transition_id, 1, 0.0, 0))
    decoder = LatticeFasterOnlineDecoder(StdConstFst(graph), LatticeFasterDecoderOptions(), model.id2pdf)
    decoder.init_decoding()
    decoder.advance_decoding(log_likelihoods)
    decoder.finalize_decoding()
    assert np.isfinite(decoder.get_best_path().acoustic_cost)


# The objects, with good numbers


def diag_gmm() -> DiagGmm:
    random = np.random.default_rng(2)
    return DiagGmm(
        np.full(GAUSSIANS, 1 / GAUSSIANS, np.float32),
        random.normal(size=(GAUSSIANS, DIM)).astype(np.float32),
        random.uniform(0.001, 0.01, size=(GAUSSIANS, DIM)).astype(np.float32),
    )


def am_diag_gmm() -> AmDiagGmm:
    gmm = diag_gmm()
    return AmDiagGmm(gmm.weights * 2, gmm.means_invvars, gmm.inv_vars, np.array([2, 2]))


def ivector_extractor() -> IvectorExtractor:
    random = np.random.default_rng(3)
    projections = [random.normal(size=(DIM, IVECTOR_DIM)) for _ in range(GAUSSIANS)]
    return IvectorExtractor(projections, [np.array([1.0, 0.1, 1.0, 0.2, 0.3, 1.0])] * GAUSSIANS, 10.0)


def cmvn_stats() -> np.ndarray:
    doubles = FRAMES.astype(np.float64)
    return np.array([[*doubles.sum(0), len(FRAMES)], [*np.square(doubles).sum(0), 0]])


def fmllr_stats() -> FmllrDiagGmmAccs:
    model, accs = am_diag_gmm(), FmllrDiagGmmAccs.zero(DIM)
    posteriors = np.full((len(FRAMES), GAUSSIANS), 0.25, np.float32)
    accs.accumulate(FRAMES, *model.weighted_parameters(posteriors), np.ones(len(FRAMES)))
    return accs


def fmllr_basis() -> BasisFmllrEstimate:
    return BasisFmllrEstimate(np.random.default_rng(4).normal(size=(4, DIM, DIM + 1)).astype(np.float32))


MATRIX = " [ 0.5 1 2\n -1 0.25 1\n 1 1 -1 ]"
NNET2 = (
    "<Nnet> <NumComponents> 9 <Components> "
    f"<AffineComponent> <LearningRate> 0.1 <LinearParams> {MATRIX} <BiasParams> [ 1 2 3 ] </AffineComponent> "
    "<PowerComponent> <InputDim> 3 <OutputDim> 3 <Power> 1.5 </PowerComponent> "
    "<ScaleComponent> <Dim> 3 <Scale> 0.5 </ScaleComponent> "
    "<FixedScaleComponent> <Scales> [ 1 2 1 ] </FixedScaleComponent> "
    "<FixedBiasComponent> <Bias> [ 1 0 1 ] </FixedBiasComponent> "
    "<NormalizeComponent> <Dim> 3 </NormalizeComponent> "
    "<PnormComponent> <InputDim> 3 <OutputDim> 3 <P> 3 </PnormComponent> "
    "<FixedAffineComponent> <LinearParams> [ 1 2 3\n 3 -1 2 ] <BiasParams> [ 0.5 1 ] </FixedAffineComponent> "
    "<SoftmaxComponent> <Dim> 2 </SoftmaxComponent> "
    "</Components> </Nnet>  [ 0.25 0.75 ] "
)
NNET3_NODES = """<Nnet3>{space}
input-node name=input dim=3
input-node name=ivector dim=2
component-node name=lda component=lda input=Append(input, Scale(2.0, ReplaceIndex(ivector, t, 0)))
component-node name=tdnn component=tdnn input=Sum(Scale( 0.5 , lda), Const( 0.25 , 3))
component-node name=bn component=bn input=tdnn
component-node name=relu component=relu input=bn
component-node name=bn2 component=bn2 input=relu
component-node name=affine1 component=affine1 input=bn2
component-node name=affine2 component=affine2 input=affine1
component-node name=scale component=scale input=affine2
component-node name=offset component=offset input=scale
component-node name=norm component=norm input=offset
component-node name=sum component=sum input=norm
component-node name=drop component=drop input=sum
component-node name=last component=last input=drop
output-node name=output input=last

"""
NNET3_COMPONENTS = {
    "lda": "<FixedAffineComponent> <LinearParams> [ 1 0 1 0.5 0\n 0 1 0 1 1\n 1 1 1 0 1 ] "
    "<BiasParams> [ 0.5 1 2 ] </FixedAffineComponent>",
    "tdnn": f"<TdnnComponent> <TimeOffsets> [ 0 ] <LinearParams> {MATRIX} <BiasParams> [ 1 1 0 ] "
    "</TdnnComponent>",
    "bn": "<BatchNormComponent> <Dim> 3 <BlockDim> 3 <Epsilon> 0.001 <TargetRms> 1 <TestMode> F <Count> 100 "
    "<StatsMean> [ 0.5 1 2 ] <StatsVar> [ 1 2 0.5 ] </BatchNormComponent>",
    "relu": "<RectifiedLinearComponent> <Dim> 3 </RectifiedLinearComponent>",
    "bn2": "<BatchNormComponent> <Dim> 3 <BlockDim> 3 <Epsilon> 0.001 <TargetRms> 0.5 <TestMode> F "
    "<Count> 100 <StatsMean> [ 0.5 1 2 ] <StatsVar> [ 1 2 0.5 ] </BatchNormComponent>",
    "affine1": f"<AffineComponent> <LinearParams> {MATRIX} <BiasParams> [ 1 0.5 0.25 ] </AffineComponent>",
    "affine2": "<NaturalGradientAffineComponent> "
    f"<LinearParams> {MATRIX} <BiasParams> [ 1 0.5 0.25 ] </NaturalGradientAffineComponent>",
    "scale": "<FixedScaleComponent> <Scales> [ 1 2 1 ] </FixedScaleComponent>",
    "offset": "<ScaleAndOffsetComponent> <Dim> 3 <Scales> [ 1 2 1 ] <Offsets> [ 1 2 1 ] "
    "</ScaleAndOffsetComponent>",
    "norm": "<NormalizeComponent> <InputDim> 3 <TargetRms> 0.5 <AddLogStddev> F </NormalizeComponent>",
    "sum": "<SumBlockComponent> <InputDim> 3 <OutputDim> 3 <Scale> 0.5 </SumBlockComponent>",
    "drop": "<DropoutComponent> <Dim> 3 <DropoutProportion> 0.2 </DropoutComponent>",
    "last": "<LinearComponent> <Params> [ 1 2 3\n 3 -1 2 ] </LinearComponent>",
}
NNET3 = (
    NNET3_NODES.format(space=" ")
    + f"<NumComponents> {len(NNET3_COMPONENTS)} "
    + " ".join(f"<ComponentName> {name} {text}" for name, text in NNET3_COMPONENTS.items())
    + " </Nnet3> <LeftContext> 0 <RightContext> 0 <Priors> [ 0.25 0.75 ] "
)


# What recognition does with them


def use_extractor(extractor: IvectorExtractor) -> None:
    stats = OnlineIvectorEstimationStats.from_prior(extractor.ivector_dim(), extractor.prior_offset(), 10.0)
    posteriors = np.full((len(FRAMES), extractor.num_gauss()), 0.25, np.float32)
    frames = np.resize(FRAMES, (len(FRAMES), extractor.feat_dim()))
    stats.acc_stats(extractor, frames, posteriors)
    assert np.isfinite(stats.get_ivector(15, np.zeros(extractor.ivector_dim()))).all()


def use_ivectors(
    *,
    lda: np.ndarray | None = None,
    stats: np.ndarray | None = None,
    ubm: DiagGmm | None = None,
    extractor: IvectorExtractor | None = None,
    config: OnlineIvectorExtractionConfig | None = None,
) -> None:
    """Estimates i-vectors with one part that may be odd."""
    info = OnlineIvectorExtractionInfo(
        opts=config or OnlineIvectorExtractionConfig(max_count=10.0),
        lda_mat=np.eye(DIM, dtype=np.float32) if lda is None else lda,
        global_cmvn_stats=cmvn_stats() if stats is None else stats,
        diag_ubm=ubm or diag_gmm(),
        extractor=extractor or ivector_extractor(),
        splice_opts=OnlineSpliceOptions(0, 0),
    )
    feature = OnlineIvectorFeature(info, OnlineMatrixFeature(FRAMES))
    assert np.isfinite(feature.get_frame(len(FRAMES) - 1)).all()
    assert np.isfinite(feature.get_adaptation_state().ivector_stats.quadratic_term).all()


def use_cmvn(stats: np.ndarray) -> None:
    for normalize_variance in (False, True):
        opts = OnlineCmvnOptions(normalize_variance=normalize_variance)
        cmvn = OnlineCmvn(opts, OnlineCmvnState(global_cmvn_stats=stats), OnlineMatrixFeature(FRAMES))
        frames = cmvn.get_frames(0, len(FRAMES))
        if not np.isfinite(frames).all():
            decodable = DecodableDiagGmmScaledOnline(am_diag_gmm(), 0.1, OnlineMatrixFeature(frames))
            search(decodable.log_likelihoods(0, len(FRAMES)))
    use_ivectors(stats=stats)


def use_transform(transform: np.ndarray) -> None:
    if transform.shape == (DIM, DIM + 1):
        features = OnlineTransform(transform, OnlineMatrixFeature(FRAMES))
        search(DecodableDiagGmmScaledOnline(am_diag_gmm(), 0.1, features).log_likelihoods(0, len(FRAMES)))
        use_ivectors(lda=transform)


def use_gmm(model: AmDiagGmm) -> None:
    if model.dim() == DIM and model.num_pdfs() == PDFS:
        decodable = DecodableDiagGmmScaledOnline(model, 0.1, OnlineMatrixFeature(FRAMES))
        search(decodable.log_likelihoods(0, len(FRAMES)))
        posteriors = model.gaussian_posteriors(FRAMES, np.full((len(FRAMES), PDFS), 0.5, np.float32))
        assert posteriors.shape == (len(FRAMES), model.num_gauss())


def use_ubm(ubm: DiagGmm) -> None:
    if (ubm.num_gauss(), ubm.dim()) == (GAUSSIANS, DIM):
        use_ivectors(ubm=ubm)


def use_nnet2(model: AmNnet) -> None:
    features = OnlineMatrixFeature(FRAMES)
    opts = DecodableNnet2OnlineOptions(acoustic_scale=0.5)
    search(DecodableNnet2Online(model, transition_model(), opts, features).advance())


def use_nnet3(model: AmNnetSimple) -> None:
    opts = NnetSimpleLoopedComputationOptions(acoustic_scale=0.5)
    info = DecodableNnetSimpleLoopedInfo(opts, model)
    ivectors = OnlineMatrixFeature(np.ones((len(FRAMES), IVECTOR_DIM), np.float32))
    search(DecodableNnetLoopedOnline(info, OnlineMatrixFeature(FRAMES), ivectors).advance())


def use_basis(basis: BasisFmllrEstimate) -> None:
    if basis.dim() == DIM:
        found = basis.compute_transform(fmllr_stats(), None, BasisFmllrOptions(min_count=1.0))
        assert found is None or np.isfinite(found).all()


def use_fmllr_stats(stats: FmllrDiagGmmAccs) -> None:
    if stats.dim() == DIM:
        found = fmllr_basis().compute_transform(stats, None, BasisFmllrOptions(min_count=1.0))
        assert found is None or np.isfinite(found).all()


def use_transition_model(model: TransitionModel) -> None:
    assert np.isfinite(model.log_probs).all()


@dataclass(frozen=True)
class Case:
    """A kind of file: its text, who reads it, and who uses what was read."""

    text: str
    read: Callable[[KaldiReader], object]
    use: Callable[..., None]


CASES = {
    "i-vector extractor": Case(written(ivector_extractor().write), IvectorExtractor.read, use_extractor),
    "mixture": Case(written(diag_gmm().write), DiagGmm.read, use_ubm),
    "GMM": Case(written(am_diag_gmm().write), AmDiagGmm.read, use_gmm),
    "CMVN statistics": Case(
        written(lambda writer: writer.write_matrix(cmvn_stats())), read_cmvn_stats, use_cmvn
    ),
    "transform": Case(" [ 1 0.5 0 1\n 0 1 0.5 2\n 0.5 0 1 3 ]\n", read_transform, use_transform),
    "transition model": Case(written(transition_model().write), TransitionModel.read, use_transition_model),
    "nnet2": Case(NNET2, AmNnet.read, use_nnet2),
    "nnet3": Case(NNET3, AmNnetSimple.read, use_nnet3),
    "fMLLR basis": Case(written(fmllr_basis().write), BasisFmllrEstimate.read, use_basis),
    "fMLLR statistics": Case(written(fmllr_stats().write), FmllrDiagGmmAccs.read, use_fmllr_stats),
}
kinds = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@kinds
def test_good_numbers_are_taken(case: Case) -> None:
    case.use(case.read(reader_of(case.text)))


@kinds
@settings(max_examples=150)
@given(data=st.data())
def test_other_numbers(case: Case, data: st.DataObject) -> None:
    text = data.draw(with_other_numbers(case.text))
    found = refusal(lambda: case.use(case.read(reader_of(text))))
    assert is_clear(found), found


def read_and_use(case: Case, text: str) -> None:
    case.use(case.read(reader_of(text)))


@kinds
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite_are_named(case: Case, number: str) -> None:
    """In every place where a number is used and fractions are allowed."""
    refused = 0
    for match in list(NUMBER.finditer(case.text)):
        if "." not in match.group() and "e" not in match.group():
            continue
        text = case.text[: match.start()] + number + case.text[match.end() :]
        found = refusal(partial(read_and_use, case, text))
        assert is_clear(found), found
        refused += found is not None and found.startswith("some.mdl: ") and f"found {number}" in found
    assert refused > 0


# Options from which constants are derived

NUMBERS = st.sampled_from([float(value) for value in VALUES])
BOOLEANS = st.booleans()
SAMPLES = np.random.default_rng(5).normal(0, 3000, 4000).astype(np.float32)


@pytest.mark.parametrize(
    ("options_class", "feature_class"),
    [(MfccOptions, OnlineMfcc), (PlpOptions, OnlinePlp), (FbankOptions, OnlineFbank)],
)
@settings(max_examples=60)
@given(data=st.data())
def test_options_of_features(options_class: type, feature_class: type, data: st.DataObject) -> None:
    options = options_class()
    options.frame_opts.dither = 0.0
    for owner in (options, options.frame_opts, options.mel_opts):
        names = [name for name, value in vars(owner).items() if isinstance(value, float)]
        is_changed: bool = data.draw(BOOLEANS)
        if names and is_changed:
            setattr(owner, data.draw(st.sampled_from(names)), data.draw(NUMBERS))

    def use() -> None:
        feature = feature_class(options)
        feature.accept_waveform(options.frame_opts.samp_freq, SAMPLES)
        feature.input_finished()
        assert np.isfinite(feature.get_frames(0, feature.num_frames_ready())).all()

    found = refusal(use)
    assert is_clear(found), found


@settings(max_examples=60)
@given(data=st.data())
def test_options_of_ivectors(data: st.DataObject) -> None:
    config = OnlineIvectorExtractionConfig()
    names = [name for name, value in vars(config).items() if isinstance(value, float)]
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True)):
        setattr(config, name, data.draw(NUMBERS))
    found = refusal(lambda: use_ivectors(config=config))
    assert is_clear(found), found

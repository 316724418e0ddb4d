"""ActBERT's encoder: each stream's transformer layers, and the tangled layers between them.

B clips; T words, R regions (the global one first), A actions; W the tangled width.
"""

from __future__ import annotations

from collections.abc import Sequence

from paddle import Tensor, nn

from paddlevideo.modeling.backbones.tangled import (
    NOTHING_KNOWN,
    Known,
    PaddedLengths,
    Streams,
    TangleConfig,
    TangledLayer,
)
from paddlevideo.modeling.layers import (
    Packing,
    StreamConfig,
    TransformerLayer,
    initial_range,
    take_rows,
)

FROM_THE_START = Streams(0, 0, 0)


class TangledEncoder(nn.Layer):
    """Each stream's transformer layers, and the tangled layers between them."""

    def __init__(
        self,
        streams: Streams[StreamConfig],
        tangle: TangleConfig,
        positions: Streams[Sequence[int]],
    ) -> None:
        super().__init__()
        self.positions = list(zip(*positions, strict=True))
        self.depths = tuple(stream.layers for stream in streams)

        def stack(stream: StreamConfig) -> nn.LayerList:
            return nn.LayerList([TransformerLayer(stream) for _ in range(stream.layers)])

        self.layers = nn.LayerDict(
            {name: stack(stream) for name, stream in streams._asdict().items()}
        )
        with initial_range(tangle.initializer_range):
            self.tangled = nn.LayerList([TangledLayer(streams, tangle) for _ in self.positions])
        #: The depth of each stream's first tangled layer; below, it depends only on its own input.
        self.first_tangled: Streams[int] = Streams(
            *(
                min(depths, default=stream.layers)
                for depths, stream in zip(positions, streams, strict=True)
            )
        )

    def run(
        self,
        stream: str,
        x: Tensor,
        bias: Tensor,
        start: int = 0,
        stop: int | None = None,
        rows: int | Tensor | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """Runs layers ``start`` to ``stop`` of one stream, the last of them for ``rows`` only.

        ``rows``: see ``take_rows``; without a layer to run they are taken from ``x``. With
        ``packing``, ``x`` and the result are packed.
        """
        layers = list(self.layers[stream])[start:stop]
        for depth, layer in enumerate(layers, start=1):
            x = layer(x, bias, rows if depth == len(layers) else None, packing)
        return x if layers else take_rows(x, rows)

    def forward(
        self,
        states: Streams[Tensor],
        bias: Streams[Tensor],
        padded: PaddedLengths,
        start: Streams[int] = FROM_THE_START,
        rows: int | Streams[Tensor] | None = None,
        known: Sequence[Known] = (),
    ) -> Streams[Tensor]:
        """Runs each stream's layers from ``start`` on, and the tangled layers.

        ``states`` (B, T | R | A, D of the stream) -> the same, or the first ``rows`` positions, or
        the positions (B, K) that ``rows`` names for each stream.
        ``known``: for each tangled layer, what was computed before. Actions may be None if all
        their queries are known.
        """
        known = known or [NOTHING_KNOWN] * len(self.tangled)
        first = rows if isinstance(rows, int) else None  # tangled layers support nothing else
        for index, (tangled, stop) in enumerate(zip(self.tangled, self.positions, strict=True)):
            states = self._run_each(states, bias, start, stop)
            start = Streams(*stop)
            wanted = self.tangled_rows(index, first)
            states = tangled(states, bias, padded, wanted, known[index])
        return self._run_each(states, bias, start, self.depths, rows)

    def tangled_rows(self, index: int, rows: int | None) -> Streams[int | None]:
        """Returns how many first positions of each stream tangled layer ``index`` must compute.

        They are ``rows`` where the layer is the last of the stream, else all: None.
        """
        last = index == len(self.tangled) - 1
        ends = zip(self.positions[index], self.depths, strict=True)
        return Streams(*(rows if last and stop == depth else None for stop, depth in ends))

    def _run_each(
        self,
        states: Streams[Tensor],
        bias: Streams[Tensor],
        start: Sequence[int],
        stop: Sequence[int],
        rows: int | Streams[Tensor] | None = None,
    ) -> Streams[Tensor]:
        each = rows if isinstance(rows, Streams) else Streams(rows, rows, rows)
        return Streams(
            *(
                None if x is None else self.run(name, x, b, begin, end, wanted)
                for name, x, b, begin, end, wanted in zip(
                    Streams._fields, states, bias, start, stop, each, strict=True
                )
            )
        )

    def action_path(
        self, actions: Tensor, bias: Tensor, start: int = 0
    ) -> tuple[list[Tensor], Tensor]:
        """Runs only the action stream, from layer ``start``, with released tangling.

        ``actions`` (B, A, D) -> the query of ``Projected`` in every tangled layer, and its last
        state.
        """
        queries = []
        for tangled, stop in zip(self.tangled, self.positions, strict=True):
            actions = self.run("actions", actions, bias, start, stop[2])
            start = stop[2]
            projected = tangled.project("actions", actions)
            queries.append(projected.query)
            biases = Streams(bias, bias, bias)  # only that of the actions is read
            actions = tangled.update_stream("actions", actions, projected, biases, None)
        return queries, self.run("actions", actions, bias, start)

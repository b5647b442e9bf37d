"""Modules of transformers whose Python code decides by values, written so that one graph serves all inputs.

Each rewrite is named like the class it changes; it gets a module of it, whose method it replaces. They hold under what
the export assumes: the pictures of a batch have one size, so that masks of pixels are all ones. Functions that many
families have a copy of are replaced where a copy is, whatever the family, and only within an export.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def apply(model: nn.Module) -> bool:
    """Replace what a graph cannot express in all modules of a model; whether there was anything."""
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("batched_mm")  # the others loop over what the data say, or need a GPU
    found = [module for module in model.modules() if type(module).__name__ in REWRITES]
    for module in found:
        REWRITES[type(module).__name__](module)
    changed = bool(found)
    for home in {sys.modules[type(module).__module__] for module in model.modules()}:
        for name in FUNCTIONS.keys() & vars(home).keys():
            changed = True
            original = getattr(home, name)
            if not hasattr(original, "original"):
                rewritten: Any = FUNCTIONS[name](original)
                rewritten.original = original
                setattr(home, name, rewritten)
    return changed


def _vilt_embeddings(module: Any) -> None:
    """ViLT picks patches by a mask, row by row; without a mask it takes all of them."""

    def visual_embed(self: Any, pixel_values: Tensor, pixel_mask: Tensor, max_image_length: int = 200) -> Any:
        x = self.patch_embeddings(pixel_values)
        rows, channels, height, width = x.shape
        side = self.config.image_size // self.config.patch_size
        places = self.position_embeddings[:, 1:, :].transpose(1, 2).reshape(1, channels, side, side)
        places = nn.functional.interpolate(places, size=(height, width), mode="bilinear", align_corners=True)
        x = x.flatten(2).transpose(1, 2) + places.flatten(2).transpose(1, 2)
        first = self.cls_token + self.position_embeddings[:, :1, :]
        x = torch.cat([first.expand(rows, -1, -1), x], dim=1)
        return x, torch.ones(rows, height * width + 1, dtype=torch.long), (None, (height, width))

    module.visual_embed = types.MethodType(visual_embed, module)


def _swin_patches(module: Any) -> None:
    """Swin fills a picture up to whole patches only where it must."""

    def maybe_pad(self: Any, pixel_values: Tensor, height: int, width: int) -> Tensor:
        return nn.functional.pad(pixel_values, (0, -width % self.patch_size[1], 0, -height % self.patch_size[0]))

    module.maybe_pad = types.MethodType(maybe_pad, module)


def _swin_merging(module: Any) -> None:
    """The same for pairs of rows and columns."""

    def maybe_pad(self: Any, input_feature: Tensor, height: int, width: int) -> Tensor:
        return nn.functional.pad(input_feature, (0, 0, 0, width % 2, 0, height % 2))

    module.maybe_pad = types.MethodType(maybe_pad, module)


def _pooled_places(module: Any) -> None:
    """Funnel lists the places of the tokens left after each pooling; here they are computed from their number."""
    listed = module.get_position_embeds

    def get_position_embeds(seq_len: int, dtype: Any, device: Any) -> Any:
        config = module.config
        if config.attention_type == "factorized":
            return listed(seq_len, dtype, device)
        rate = 1 / (10000 ** (torch.arange(0, config.d_model // 2, 1.0, device=device) / (config.d_model // 2)))

        def apart(furthest: int, nearest: int, stride: int) -> Tensor:
            """Of the distances from the furthest to the nearest, in strides."""
            distance = furthest - stride * torch.arange((furthest - nearest) // stride + 1, device=device)
            angle = distance[:, None] * rate
            return torch.cat([angle.sin(), angle.cos()], dim=-1).to(dtype)

        # The first place, the second, how far the others are from each other, and how many there are.
        first, second, step, count = 0, 1, 1, seq_len
        found = []
        for block in range(config.num_blocks):
            pooling, stride = None, 2**block
            if block:
                begin, last = first, second + (count - 2) * step
                if config.separate_cls:
                    first, count = 1 - stride, (count + 1) // 2 if config.truncate_seq else count // 2 + 1
                else:
                    second, count = second + step, (count + 1) // 2
                step *= 2
                pooling = apart(first - begin + count * stride, first - last, stride // 2)
            found.append([apart(count * stride, first - second - (count - 2) * step, stride), pooling])
        return found

    module.get_position_embeds = get_position_embeds


def _uncached_rotary(module: Any) -> None:
    """Wav2Vec2-Conformer keeps the angles of the length it saw last; here they are computed each time."""

    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        angles = torch.arange(hidden_states.shape[1]).type_as(self.inv_freq)[:, None] * self.inv_freq
        angles = torch.cat((angles, angles), dim=-1)[:, None, None, :]
        return torch.stack([angles.cos(), angles.sin()]).type_as(hidden_states)

    module.forward = types.MethodType(forward, module)


def _grounded(module: Any) -> None:
    """Grounding DINO's phrases, which end at special tokens, without running maxima, which ONNX does not have."""

    def phrases(input_ids: Tensor, special_tokens: Tensor) -> tuple[Tensor, Tensor]:
        length = input_ids.shape[1]
        special = (input_ids[..., None] == special_tokens).any(-1)
        number = torch.arange(length, device=input_ids.device)
        before = number[None, :] < number[:, None]
        last = torch.where(special[:, None] & before, number, -1).max(-1).values
        following = torch.where(special[:, None] & ~before, number, length).min(-1).values
        inside = (following != 0) & (following != length - 1) & (following != length)
        same = (following[:, :, None] == following[:, None]) & inside[:, None]
        mask = same | (number[None, :] == number[:, None])
        return mask, torch.where(inside, number - last - 1, 0).clamp(min=0)

    home = sys.modules[type(module).__module__]
    home.generate_masks_with_special_tokens_and_transfer_map = phrases  # type: ignore[attr-defined]


def _banded_attention(module: Any) -> None:
    """Longformer and LED attend to neighbours and to chosen tokens: here as one masked attention of any length."""

    def forward(
        self: Any, hidden_states: Tensor, attention_mask: Any = None, is_index_masked: Any = None,
        is_index_global_attn: Any = None, is_global_attn: Any = None, output_attentions: bool = False,
    ) -> tuple[Tensor]:  # fmt: skip
        rows, length, _ = hidden_states.shape
        place = torch.arange(length, device=hidden_states.device)
        near = (place[:, None] - place[None]).abs() <= self.one_sided_attn_window_size
        unmasked = ~is_index_masked[:, None]

        def attend(query: nn.Module, key: nn.Module, value: nn.Module, allowed: Tensor) -> Tensor:
            q, k, v = (
                layer(hidden_states).view(rows, length, self.num_heads, self.head_dim).transpose(1, 2)
                for layer in (query, key, value)
            )
            scores = q @ k.transpose(2, 3) / math.sqrt(self.head_dim)
            scores = scores.masked_fill(~allowed[:, None], torch.finfo(scores.dtype).min)
            return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

        beside = attend(self.query, self.key, self.value, (near & unmasked) | is_index_global_attn[:, None])
        beside = beside.masked_fill(is_index_masked[..., None], 0.0)
        everywhere = attend(
            self.query_global, self.key_global, self.value_global, unmasked.expand(rows, length, length)
        )
        return (torch.where(is_index_global_attn[..., None], everywhere, beside),)

    module.forward = types.MethodType(forward, module)


def _unfilled(module: Any) -> None:
    """Attention that takes any length needs no filling up to whole windows."""

    def whole(self: Any, input_ids: Any, attention_mask: Any, *, pad_token_id: Any = None, **others: Any) -> Any:
        return 0, input_ids, attention_mask, *others.values()

    module._pad_to_window_size = types.MethodType(whole, module)


def _longformer(module: Any) -> None:
    """The same; and a question ends at the first separator, however many there are."""

    def end(input_ids: Tensor, sep_token_id: int) -> Tensor:
        return (input_ids == sep_token_id).int().argmax(-1)

    _unfilled(module)
    sys.modules[type(module).__module__]._get_question_end_index = end  # type: ignore[attr-defined]


def _switched_experts(module: Any) -> None:
    """Switch Transformers run an expert where a token chose it; here each runs, and is weighted with its share."""

    def forward(self: Any, hidden_states: Tensor, selected_experts: Tensor, routing_weights: Tensor) -> Tensor:
        share = (selected_experts * routing_weights[..., None]).sum(1)
        return sum(expert(hidden_states) * share[:, i, None] for i, expert in enumerate(self.values()))

    module.forward = types.MethodType(forward, module)


def _nllb_experts(module: Any) -> None:
    """The same for NLLB's, of which transformers runs the first two: it reads the choice as the numbers 0 and 1."""

    def forward(self: Any, hidden_states: Tensor, router_mask: Tensor, router_probs: Tensor) -> Tensor:
        kept = 1 - self.moe_token_dropout
        experts = list(self.values())[:2]
        shares = ((router_probs * (router_mask == i)).sum(-1, keepdim=True) for i in range(len(experts)))
        return sum(expert(hidden_states) * share * kept for expert, share in zip(experts, shares))

    module.forward = types.MethodType(forward, module)


def _dbrx_experts(module: Any) -> None:
    """The same for DBRX's, whose weights are one matrix for all."""

    def forward(self: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        weights = (self.mlp.w1, self.mlp.v1, self.mlp.w2)
        gate, up, down = (weight.view(self.num_experts, -1, self.hidden_size) for weight in weights)
        x = hidden_states.reshape(-1, 1, self.hidden_size).transpose(0, 1)  # to each expert, all tokens
        inner = self.mlp.activation_fn(x @ gate.transpose(1, 2)) * (x @ up.transpose(1, 2))
        chosen = top_k_index[..., None] == torch.arange(self.num_experts, device=x.device)
        share = (chosen * top_k_weights[..., None]).sum(1)
        return ((inner @ down) * share.T[..., None]).sum(0).view_as(hidden_states)

    module.forward = types.MethodType(forward, module)


def _lightning_attention(module: Any) -> None:
    """MiniMax reads blocks one after the other, whose number a graph would keep; for an export all is one block."""
    original = module.forward

    def forward(hidden_states: Tensor, position_embeddings: Any, attention_mask: Any, **given: Any) -> Any:
        if not torch.compiler.is_exporting() or given.get("past_key_values") is not None:
            return original(hidden_states, position_embeddings, attention_mask, **given)
        rows, length, _ = hidden_states.shape
        mixed = module.act_fn(module.qkv_proj(hidden_states))
        if attention_mask is not None:
            mixed = mixed * attention_mask[..., None]
        query, key, value = mixed.view(rows, length, module.num_attention_heads, -1).transpose(1, 2).chunk(3, dim=-1)
        place = torch.arange(length, device=mixed.device)
        before = place[:, None] - place
        decay = (-module.slope_rate * before).masked_fill(before < 0, -math.inf).exp()
        found = (query @ key.transpose(2, 3) * decay) @ value
        found = module.norm(found.transpose(1, 2).flatten(2))
        return module.out_proj(module.output_gate(hidden_states).sigmoid() * found), None

    module.forward = forward


def _linear_recurrence(module: Any) -> None:
    """Recurrent Gemma's recurrence, a loop in Python over the tokens: for an export a scan."""
    original = module._rnn_scan

    def rnn_scan(
        hidden_states: Tensor, recurrent_gate: Tensor, reset: Tensor, recurrent_states: Any, **given: Any
    ) -> Any:
        if not torch.compiler.is_exporting() or recurrent_states is not None:
            return original(hidden_states, recurrent_gate, reset, recurrent_states, **given)
        from torch._higher_order_ops.scan import scan

        def step(state: Tensor, now: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            gate, x = now
            state = state * gate + x
            return state, state.clone()

        rows = tuple(x.movedim(1, 0).contiguous() for x in (recurrent_gate * ~reset, hidden_states))
        _, found = scan(step, torch.zeros_like(hidden_states[:, 0]), rows)
        return found.movedim(0, 1), None

    module._rnn_scan = rnn_scan


def _settled_router(module: Any) -> None:
    """A router casts its weights each time, which cannot be recorded; here they are cast once."""
    module.classifier.to(module.dtype)
    module.classifier.to = lambda *given, **named: module.classifier


def _real_angles(module: Any) -> None:
    """DeepSeek 2 and Llama 4 turn pairs as complex numbers, which ONNX does not have; here as cosine and sine."""
    home: Any = sys.modules[type(module).__module__]
    forward, original = type(module).forward, home.apply_rotary_emb

    def angles(self: Any, x: Tensor, position_ids: Tensor, **given: Any) -> Tensor:
        before = torch.polar
        torch.polar = lambda size, angle: torch.stack([angle.cos() * size, angle.sin() * size], -1)
        try:
            return forward(self, x, position_ids, **given)
        finally:
            torch.polar = before

    def turned(xq: Tensor, xk: Tensor, freqs_cis: Tensor) -> Any:
        if freqs_cis.is_complex():  # of another model
            return original(xq, xk, freqs_cis)
        cosine, sine = freqs_cis.unsqueeze(HEADS[type(module).__name__]).unbind(-1)

        def turn(x: Tensor) -> Tensor:
            a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
            return torch.stack([a * cosine - b * sine, a * sine + b * cosine], -1).flatten(-2).type_as(x)

        return turn(xq), turn(xk)

    module.forward = types.MethodType(angles, module)
    home.apply_rotary_emb = turned


def _selective_scan(original: Callable[..., Any]) -> Callable[..., Any]:
    """Mamba's recurrence is a loop in Python over the tokens; for an export it is a scan, which takes any number."""

    def selective_scan(
        hidden_states: Tensor, dt: Tensor, decay: Tensor, inward: Tensor, outward: Tensor, *others: Any, **given: Any
    ) -> Any:
        if not torch.compiler.is_exporting() or others or given.get("return_last_state"):
            return original(hidden_states, dt, decay, inward, outward, *others, **given)
        from torch._higher_order_ops.scan import scan

        if given.get("delta_bias") is not None:
            dt = dt + given["delta_bias"][..., None]
        dt = nn.functional.softplus(dt) if given.get("delta_softplus") else dt

        def step(state: Tensor, now: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            dt, x, b, c = now
            state = state * torch.exp(decay * dt[..., None]) + (dt * x)[..., None] * b[:, None]
            return state, (state * c[:, None]).sum(-1)

        rows = (dt, hidden_states, inward, outward)
        first = torch.zeros_like(hidden_states[..., :1]).expand(-1, -1, decay.shape[-1]).clone()
        _, found = scan(step, first, tuple(each.movedim(-1, 0).contiguous() for each in rows))
        found = found.movedim(0, -1)
        if given.get("D") is not None:
            found = found + hidden_states * given["D"][:, None]
        return found if given.get("z") is None else found * nn.functional.silu(given["z"])

    return selective_scan


def _one_chunk(original: Callable[..., Any]) -> Callable[..., Any]:
    """Mamba 2 cuts texts into chunks, whose number a graph would keep; for an export all is one, as in attention."""

    def chunk_scan(
        hidden_states: Tensor, dt: Tensor, rate: Tensor, inward: Tensor, outward: Tensor, *others: Any, **given: Any
    ) -> Any:
        kept = given.get("return_final_states") or given.get("initial_states") is not None
        if not torch.compiler.is_exporting() or kept:
            return original(hidden_states, dt, rate, inward, outward, *others, **given)
        if given.get("dt_bias") is not None:
            dt = dt + given["dt_bias"]
        dt = nn.functional.softplus(dt) if given.get("dt_softplus") else dt
        dt = torch.clamp(dt, *given.get("dt_limit", (0.0, math.inf)))
        inward, outward = (x.repeat_interleave(dt.shape[-1] // x.shape[2], dim=2) for x in (inward, outward))
        decay = (rate * dt).cumsum(1).transpose(1, 2)  # (rows, heads, time), its log
        length = hidden_states.shape[1]
        before = torch.ones(length, length, dtype=torch.bool, device=dt.device).tril()
        share = (decay[..., None] - decay[..., None, :]).masked_fill(~before, -math.inf).exp()
        weights = (outward.transpose(1, 2) @ inward.permute(0, 2, 3, 1)) * share
        found = (weights @ (hidden_states * dt[..., None]).transpose(1, 2)).transpose(1, 2).contiguous()
        return found if given.get("D") is None else found + given["D"][:, None] * hidden_states

    return chunk_scan


def _delta_scan(original: Callable[..., Any]) -> Callable[..., Any]:
    """The gated delta rule of Qwen3-Next and others, in chunks of a fixed size there: for an export a scan."""

    def delta_rule(
        query: Tensor, key: Tensor, value: Tensor, g: Tensor, beta: Tensor, *others: Any, **given: Any
    ) -> tuple[Tensor, Any]:
        if not torch.compiler.is_exporting() or given.get("output_final_state"):
            return original(query, key, value, g, beta, *others, **given)
        from torch._higher_order_ops.scan import scan

        if given.get("use_qk_l2norm_in_kernel"):
            query, key = (x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6) for x in (query, key))
        query, key = (x.repeat_interleave(value.shape[2] // x.shape[2], dim=2) for x in (query, key))
        query = query * query.shape[-1] ** -0.5

        def step(state: Tensor, now: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            q, k, v, decay, rate = now  # (rows, heads, width), and (rows, heads)
            state = state * decay.exp()[..., None, None]
            new = (v - (state * k[..., None]).sum(-2)) * rate[..., None]
            state = state + k[..., None] * new[..., None, :]
            return state, (state * q[..., None]).sum(-2)

        first = value.new_zeros(value.shape[0], value.shape[2], key.shape[-1], value.shape[-1])
        rows = tuple(x.movedim(1, 0).contiguous() for x in (query, key, value, g, beta))
        _, found = scan(step, first, rows)
        return found.movedim(0, 1), None

    return delta_rule


def _decaying_sums(original: Callable[..., Any]) -> Callable[..., Any]:
    """RWKV's two sums, weighted by decay and key, are a loop in Python over the tokens: for an export a scan."""

    def linear_attention(
        time_decay: Tensor, time_first: Tensor, key: Tensor, value: Tensor, state: Any = None, **given: Any
    ) -> tuple[Tensor, Any]:
        if not torch.compiler.is_exporting() or state is not None:
            return original(time_decay, time_first, key, value, state=state, **given)
        from torch._higher_order_ops.scan import scan

        def add(state: Tensor, k: Tensor, v: Tensor) -> Tensor:
            """The sums of values and of weights, (2, rows, width), and what both are relative to, its log."""
            above, below, most = state.unbind(0)
            largest = torch.maximum(most, k)
            before, now = (most - largest).exp(), (k - largest).exp()
            return torch.stack([before * above + now * v, before * below + now, largest])

        def step(state: Tensor, now: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            k, v = now
            found = add(state, k + time_first, v)
            state = add(torch.cat([state[:2], state[2:] - time_decay.exp()]), k, v)
            return state, found[0] / found[1]

        nothing = torch.zeros_like(key[:, 0])
        first = torch.stack([nothing, nothing, nothing - 1e38])
        _, found = scan(step, first, tuple(x.movedim(1, 0).contiguous() for x in (key, value)))
        return found.movedim(0, 1), None

    return linear_attention


def positions(table: Tensor, shapes: Tensor, max_length: int) -> Tensor:
    """SigLIP 2's places for pictures of different shapes, without a loop over the pictures.

    The same as resizing the table (H, W, D) linearly, smoothed where it becomes smaller, to each of `shapes` (N, 2).

    Returns:
        (N, max_length, D), rows of the grid one after the other; the first place fills up the rest.
    """
    height, width = shapes[:, :1], shapes[:, 1:]
    number = torch.arange(max_length, device=shapes.device)[None]
    number = torch.where(number < height * width, number, 0)
    rows, columns = number // width, number % width
    down = _shares(rows, height, table.shape[0])
    across = _shares(columns, width, table.shape[1])
    return torch.einsum("nph,npw,hwd->npd", down, across, table)


def _shares(place: Tensor, count: Tensor, old: int) -> Tensor:
    """The share (N, P, old) of each old place in the new ones, of which there are `count` (N, 1) in all."""
    scale = old / count.to(torch.float32)
    reach = scale.clamp(min=1.0)
    middle = (place + 0.5) * scale
    apart = torch.arange(old, device=place.device) + 0.5 - middle[..., None]
    shares = (1 - (apart / reach[..., None]).abs()).clamp(min=0.0)
    return shares / shares.sum(-1, keepdim=True)


def _any_shape(module: Any) -> None:
    """SigLIP 2 resizes its table of places picture by picture."""
    module.resize_positional_embeddings = positions


# The axis of the heads, in what `apply_rotary_emb` is given.
HEADS = {"DeepseekV2RotaryEmbedding": 1, "Llama4TextRotaryEmbedding": 2}
SWINS = ("Swin", "Swinv2", "DonutSwin", "MaskFormerSwin")
REWRITES: dict[str, Callable[[Any], None]] = {
    "Wav2Vec2ConformerRotaryPositionalEmbedding": _uncached_rotary,
    **dict.fromkeys(HEADS, _real_angles),
    **dict.fromkeys(("LongformerSelfAttention", "LEDEncoderSelfAttention"), _banded_attention),
    **dict.fromkeys(("SwitchTransformersTop1Router", "NllbMoeTop2Router"), _settled_router),
    "DbrxExperts": _dbrx_experts,
    "LEDEncoder": _unfilled,
    "LongformerModel": _longformer,
    "MiniMaxLightningAttention": _lightning_attention,
    "NllbMoeExperts": _nllb_experts,
    "SwitchTransformersExperts": _switched_experts,
    "RecurrentGemmaRglru": _linear_recurrence,
    "Siglip2VisionEmbeddings": _any_shape,
    "ViltEmbeddings": _vilt_embeddings,
    "FunnelAttentionStructure": _pooled_places,
    "GroundingDinoModel": _grounded,
    "MMGroundingDinoModel": _grounded,
    **{f"{swin}PatchEmbeddings": _swin_patches for swin in SWINS},
    **{f"{swin}PatchMerging": _swin_merging for swin in SWINS},
}
FUNCTIONS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "mamba_selective_scan": _selective_scan,
    "mamba2_chunk_scan": _one_chunk,
    "rwkv_linear_attention": _decaying_sums,
    "torch_chunk_gated_delta_rule": _delta_scan,
}

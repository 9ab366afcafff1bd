"""A Transformer out of an `nn.Transformer`. Readers meet it as `Transformer.from_torch`."""

import torch
from torch import nn

from helpers.transformer_config import TransformerConfig
from helpers.transformer_layers import DecoderLayer, EncoderLayer


def copy_of_torch(transformer, module, source_embedding, target_embedding, output, max_length, pad_id):
    """Return a copy of `module` as an instance of the class `transformer`; see `Transformer.from_torch`."""
    if not isinstance(module, nn.Transformer):
        raise TypeError(f"module is {type(module).__name__}, not nn.Transformer")
    encoder, decoder = module.encoder.layers, module.decoder.layers
    if len(encoder) != len(decoder):
        raise ValueError(f"module has {len(encoder)} encoder and {len(decoder)} decoder layers; as many are needed")
    for name, part in (("source_embedding", source_embedding), ("target_embedding", target_embedding)):
        if part.weight.size(1) != module.d_model:
            raise ValueError(f"{name} has {part.weight.size(1)} features, module has d_model={module.d_model}")
    if tuple(output.weight.shape) != tuple(target_embedding.weight.shape):
        raise ValueError(
            f"output goes from {output.in_features} to {output.out_features}, not from d_model={module.d_model} to "
            f"the {target_embedding.num_embeddings} symbols of target_embedding"
        )
    first = encoder[0]
    copy = transformer(
        TransformerConfig(
            source_embedding.num_embeddings, target_embedding.num_embeddings, module.d_model, module.nhead,
            first.linear1.out_features, len(encoder), first.dropout1.p, max_length, first.norm_first, pad_id,
            tie_embeddings=output.weight is target_embedding.weight and output.bias is None,
            shared_vocabulary=source_embedding is target_embedding, final_norm=True,
        )
    )  # fmt: skip
    copy.encoder_layers = nn.ModuleList(EncoderLayer.from_torch(layer) for layer in encoder)
    copy.decoder_layers = nn.ModuleList(DecoderLayer.from_torch(layer) for layer in decoder)
    copy = copy.to(output.weight)  # device and precision, before the rest is copied
    with torch.no_grad():
        for ours, theirs in ((copy.source_embed, source_embedding), (copy.target_embed, target_embedding)):
            ours.embedding.weight.copy_(theirs.weight)
        copy.output.weight.copy_(output.weight)
        if copy.output.bias is not None:
            copy.output.bias.copy_(0.0 if output.bias is None else output.bias)
    copy.encoder_norm.load_state_dict(module.encoder.norm.state_dict())
    copy.decoder_norm.load_state_dict(module.decoder.norm.state_dict())
    return copy.train(module.training)

"""Pretrained encoders under a name: a self-contained folder each, checked when it is read, used far from its run.

``bilstm_mae_4d_v1`` is a BiLSTM, learned by the masked autoencoder, on 4 inputs, the first of its kind.
"""

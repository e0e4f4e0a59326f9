"""The front-end of the networks that Pons made for Ballroom: 40 mel bands, as Essentia computes them.

Source: jordipons/CBMI2016 and jordipons/ICASSP2017 for the settings; Windowing, FrameCutter and MelBands of
    MTG/essentia for what its defaults mean.
Differs: Essentia leaves the last bin out of a band where less than half a bin is left to the band's upper edge; here
    every triangle is whole, which moves up to 4 % of a low band's weight. Essentia may end with one more frame, centred
    beyond the sound; a 30 s clip gives as many patches.
"""

from __future__ import annotations

from taggram.frontends import LogMelConfig

BALLROOM_MEL = LogMelConfig(
    sample_rate=44_100,
    n_fft=2048,
    hop_length=1024,
    n_mels=40,
    n_frames=80,  # 1.858 s
    window="blackmanharris62",
    window_sum=2.0,  # a sine of amplitude a has a peak of a in the spectrum
    padding="zeros",  # the first frame is centred on sample 0
    mel_scale="htk",
    mel_norm="sum",
    mel_triangles="mel",
    compression="log10_1p",
    gain=10_000,
)

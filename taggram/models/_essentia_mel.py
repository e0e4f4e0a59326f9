"""The front-ends that were Essentia's: for the networks that Pons made for Ballroom, and for those of jingju singing.

Source: the settings are those of jordipons/CBMI2016 and jordipons/ICASSP2017 for Ballroom, and of ronggong/EUSIPCO2017
    and ronggong/jingjuSyllabicSegmentaion for jingju; what they mean is read in Windowing, FrameCutter, MelBands and
    MFCC of today's MTG/essentia. That the versions of 2016 and 2017 did the same is an assumption; the mel bands of
    2013 did.
Differs: Essentia leaves the last bin out of a band where less than half a bin is left to the band's upper edge; here
    every triangle is whole, which moves up to 4 % of a low band's weight for Ballroom, and up to 12 % for jingju.
    Essentia may end with one more frame, centred beyond the sound; a 30 s clip gives as many patches.
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
JINGJU_MEL = LogMelConfig(
    sample_rate=44_100,
    n_fft=2206,
    win_length=1103,  # 25 ms, rounded up
    hop_length=441,  # 10 ms
    n_mels=80,
    n_frames=21,  # 10 before the frame in question, itself, 10 after
    window="hann_symmetric",
    window_sum=2.0,
    padding="zeros",
    fmax_hz=11_000,
    mel_scale="htk",
    mel_norm="sum",
    mel_triangles="mel",
    compression="ln_1p",
    gain=100_000,
)

"""A recorded sentence, with which speech recognition is tested where nothing can speak.

Made for this project with piper and its public-domain (CC0) voice ``joe``: Opus in Ogg, 16 kHz, as
browsers record it.
"""

from __future__ import annotations

import base64

#: Its name and media type in an upload.
NAME, KIND = "sentence.ogg", "audio/ogg"
SENTENCE = "Please close the green door behind you."


def content() -> bytes:
    """Return the file."""
    return base64.b64decode(_CONTENT)


_CONTENT = (
    "T2dnUwACAAAAAAAAAAAAAAAAAAAAAEkq9qABE09wdXNIZWFkAQE4AYA+AAAAAABPZ2dTAAAAAAAAAAAAAAAAAAABAAAA"
    "88vQ2wEWT3B1c1RhZ3MGAAAAZmZtcGVnAAAAAE9nZ1MAALi8AAAAAAAAAAAAAAIAAAC/fZQzMgsPEBMVFh0UExgVEhAS"
    "EA4UExETFhkSFxsTGBQPEBEKCxYZFhUTERkTFhgWGBQVFRMXCADMOKXVeqboBXAIgFbYcwjFedsBgRejbkAIhFPIvseJ"
    "S098ukr9L+ZACJR6Y3R8PGgcZ5GMBlNUyzzcwAiFEsisAxuP3AP7YX6bXwc8+WV+MAi62NlPDhtjKNdnrazz8flCwz3o"
    "3UwIvDH1KjuROhRLL19HyGv5JEMSxf5lPn+1fIWrOwi8VJnliZnDls8Sk8VjmRJp4mXcCLxQZWsqU0qkBnzK5pVHj59C"
    "gAi8GhXvEQyo8PNYH89phHe9gozSwa4ioAiXQtL5m2GN+QazEAg6XUtZWQmxwAiXCOqan7JMARDv2Z40C+UlsAiFfKYC"
    "zZ3f11agCm74x6AIhX5FNyt8UUPHfwKdoKzIP0AIhH9AGP1lfneB0Enq0FowCAXBW3xXHRzfG7yQqOUIgaPCmkoxbBYV"
    "BqxNMRne/+VNagiEZkiaK3f/P1A4I7rgTs6t3EIIkpavfWuWmFi0foyfZydcoAiEHF8QvOn5pJqNccOZssnXp8AIhQAi"
    "y2oidSkjv8NCpBW2jR89Ou4qCLsOcHU/+2tQgDQz/e9gHOPLKjfvnnkXgAi4b7S1bs2m04GZI/mLuhqXYAi3zkfscED9"
    "M04bFDRc7nk9hUIJ0mOACLfwCUgOTXlNXkP+lWu0EWRaU0ZM8k1Ajn/4CLeqLeXMblIgie2+94mzfOHwGgi1Kbf04Gzm"
    "PK6Yt402+QG5Tn4n+XLUgAiU7Q/gFFAwsXpsvgUrXUbnUMagCITSrWGMNQmbTE02IOj4CIS8EwY5Wr+TXbtpTd+AsgiT"
    "lUazH+gOLjOofVV/7aiACAZZ3k5+I9DtOAgGNOXTS/JMXnggCIP3ElWy5nSCtzX86AEVraFBitodqAi4KEivchqVim3m"
    "Rx6U2LhqMkkBNhvVeAgIuwgmnal+b6gaEoUxsJX11AfXbctgCIRcAFu9ES8LlrD5Og8sht5184DACIIJBeGPMetglJ96"
    "qXDa0Gr6dAiJCwqMITTxq0cdCWyo/j8sCIGoDhCu6K8hRu6LksBvmUdSA/SB/Iy+wAiDpFKj4/x1JcLMtKDTSX6lo+cI"
    "g3wOfnmNneuyCkIfHNnN/fpvgZ/mCK9Tu+gAMXMH8f+ik4wpiyWKgW+Ap+icCLZLWnDDq6+BT4VMthV6MZkpyf1jVgi3"
    "0p0KmIw5y99jjt44xsZT/b045Vw+tAi4JjQnlyWK3aFd6fQTk9WQTBUDCLhu5xrpT4D7vr4qcURIaS0qQ1NQCLeBLzlP"
    "asJm39Cq03Hqu5M2kBlwCLXGVsFqth1u771gf+OPsWDV8AipYd2VkhjsUIMLbCdEwU/EvyUyOToYT2dnUwAAOHgBAAAA"
    "AAAAAAAAAwAAAKLuaXkyGBkXFBkVFBEVFBMRFxcTDxcSEAwVExUWDxMXGRsUGBETFhYSFBITFBAREAwLCwwKCwsIpydU"
    "XIjW5ouGedF0f2FeVtnKI3qgVSAIokt0Zd+0VnZ5idzmG8il3+EDGZH/zlBuCJ5qHBXujSw93IucHMi5YYkte1SfyIAI"
    "nEu5MsTVM7AdMrxpIVLU3HcZFgi5PZZJytEU2oJcPjZ2GGsbLxlR6quzEKAItpwBBrCwrA4zEDPnplAhddQX0LQItbH2"
    "pW5msC1fqmuBfYHVFZFrdAi0Cw+NGbaXLHQlQ20+6F72CLTQEz/1QxscJdrGYRNuFE00UBrACLUUMYQQFApjr9G/oy9g"
    "IrM4pzIItO/Y2T3tBsDivnQ58l3WYgdOCLNtIDCOl+BO7hSGjn2T1YwIr6ngwlXihfomsRmG3UP6RTvykLlHCAigwJI5"
    "UxUCHmEg7D3l5HVmRjmg6amgCJvxdyiQh5ubGnWQvLwFsmEZzggEji+n9DBJxMUjnZUmIAiDP07irVYODoO7c8C/Cp2u"
    "mzgF0uE4CIUjB8ov94WMP542ouv1mzCUCIUW730Z8uh6cyWGhAqvKAiFQFav0UJvW/p60AiWGav1ayaoOGCIqKEEe8Gp"
    "aN5AQAiFRRG75C4pQH/B9pHcdNGJtIAIvAx75zNPHrJXMus4IfMbA3yorFoIvF37KXThZEik/1hR82oVlGykoOjACLyd"
    "QKH7JVMiCtfDn8jdCLxUooo3KqlfYVwJM0NNLsLTwAi8dD5b5cePA1AEe09BEKXeo/HWzs5+CLxIxMftll0ncyt0/Yee"
    "RlIfK2l044Lq0Ai7vFzNhf6KrPSFkzGZ1JINKtKcNYl+k61pLAi/1PRb5Vu4BzqDn6hUVcuUbt9oCLMYCfV70L1SV9ks"
    "Ym1bSuQuB5gkKuggCKzNwS7R63DEpg4J90Ou9MAIrg6PXZxYfK1HEMtl2BivubAQCKnXlDh10oiRPuj60MtfdMORBMWn"
    "gAizHxSl3aWQrZB9Dccc7C6a5SzkFoQIhJ316thr6ZCExfrMFmNlEbAIhXY4DQ9YRY5JsThUzzTvkJvv0AiFEupNsRCu"
    "17G+T431kH2mgAiFWmbkFTNUgzOVQR1tu1HDNEgIhOkn6rdUYpOODyVWkXxfGPQU4AiSVZ2PgnV0vtPp4df3rvgIOJiq"
    "3agX/W8IN/bsLFDxmAgqw52ATKEmDOrtJhRxVmAIIMDtft3/12N3iTwIFBMZqitB5hUZ1AgNKKd1l59yanagCAzoxlmo"
    "7ukPw5NACAtcpd3VdXaTQAgLTcdloJ3anNCgCAp2y8Uav5hxubBPZ2dTAASqeAEAAAAAAAAAAAAEAAAA+6o6cQEKCAlO"
    "h4mRXAdHQA=="
)

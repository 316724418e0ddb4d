from paddlevideo.config import load_config as load_config
from paddlevideo.inference import EncodedVideos as EncodedVideos
from paddlevideo.inference import Extraction as Extraction
from paddlevideo.inference import VideoTextModel as VideoTextModel
from paddlevideo.inference import VideoVectors as VideoVectors
from paddlevideo.inference import load as load
from paddlevideo.modeling import build_model as build_model
from paddlevideo.modeling import load_weights as load_weights

__version__: str

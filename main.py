"""Trains a model, or tests it, as a YAML file says.

python main.py -c actbert.yaml --validate
python main.py --test -c actbert_msrvtt.yaml -w ActBERT.pdparams
python -m paddle.distributed.launch --gpus 0,1,2,3 main.py --amp -c actbert.yaml
"""

import sys

from paddlevideo.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("run"))

"""python -m stn_scratch.colocalisation ENCODER OUT: find the digits of one class, and say how many were found."""

import argparse
import sys
from pathlib import Path

from stn_scratch.colocalisation import Config, draw_boxes, run
from stn_scratch.training import loop
from stn_scratch.training.run_folder import check_free
from stn_scratch.training.stopping import same_again


def main(arguments=None):
    """Gives the exit status: 0, 2 for a sentence on stderr, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m stn_scratch.colocalisation",
                                     description="Find the digits of one class, and say how many were found.")
    parser.add_argument("encoder", help="the folder of a run of `train --model cnn --data none`")
    parser.add_argument("out", type=Path, help="the run's folder")
    parser.add_argument("--label", type=int, default=Config.label, help="the class (default %(default)s)")
    parser.add_argument("--clutter", action="store_true", help="TC: pieces of other digits around (default T: none)")
    parser.add_argument("--digits-of", choices=("test", "validation"), default=Config.digits_of, help="whose digits")
    parser.add_argument("--data-dir", help="a folder with MNIST's four .gz files (default: the encoder's)")
    parser.add_argument("--seed", type=int, default=Config.seed)
    parser.add_argument("--iterations", type=int, default=Config.iterations)
    parser.add_argument("--lr", type=float, default=Config.lr, help="learning rate (default %(default)s)")
    parser.add_argument("--clip-norm", type=float, default=Config.clip_norm,
                        help="the longest gradient allowed (default %(default)s)")
    parser.add_argument("--device", choices=("cpu", "gpu"), default=Config.device)
    either = parser.add_mutually_exclusive_group().add_argument
    either("--resume", action="store_true", help="go on with an interrupted run")
    either("--overwrite", action="store_true", help="throw away a run that stands in OUT")
    options = vars(parser.parse_args(arguments))
    out, resume, overwrite = (options.pop(name) for name in ("out", "resume", "overwrite"))
    again = same_again(overwrite=overwrite)
    try:
        if out.resolve() == Path(options["encoder"]).resolve():
            raise ValueError(f"OUT must be another folder than ENCODER, not {out}")
        if not (resume or overwrite):
            check_free(out, otherwise="name another folder")
        done, record = run(Config(**options), out, resume=resume)
        try:
            print(f"pictures: {draw_boxes(done)}")
        finally:  # a picture that cannot be written takes nothing from the figure
            print(f"localised: {record['localised']:.0f} % ({len(record['boxes'])} images), mean IoU "
                  f"{record['iou']:.2f}")
    except loop.Interrupted as stop:
        print(f"{stop}. Go on with {again}.", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print(f"stn_scratch.colocalisation: stopped; a run goes on from its last checkpoint with {again}",
              file=sys.stderr)
        return 130
    except (OSError, RuntimeError, ValueError, loop.NotFinite) as error:
        print(f"stn_scratch.colocalisation: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

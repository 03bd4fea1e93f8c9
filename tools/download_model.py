"""Download published weights by name: whole, verified, resumable, their licence known."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    parser.epilog = "WSL_DET_MIRROR=URL takes files from URL/<host>/<path>; WSL_DET_OFFLINE=1 stays offline."
    job = parser.add_mutually_exclusive_group(required=True)
    job.add_argument("name", nargs="?", metavar="NAME", help="a name from --list, with or without zoo://")
    job.add_argument("--list", action="store_true", help="print the catalogue")
    job.add_argument("--trunks", action="store_true", help="print named trunks of timm's by supervision")
    job.add_argument(
        "--show", metavar="NAME", help="print all that is known of one entry; nothing is fetched"
    )
    job.add_argument(
        "--verify", metavar="FILE", help="check a downloaded file against all that is known of it"
    )
    add("--dest", metavar="DIR", default="weights", help="folder for the files (default: weights)")
    add(
        "--accept-license",
        action="store_true",
        help="accept a non-commercial licence without being asked; remembered in DIR/zoo.lock.json",
    )
    add("--markdown", action="store_true", help="--list as a Markdown table")


def run(args: Namespace) -> None:
    from pathlib import Path

    from wsl_det.core import log
    from wsl_det.zoo import catalogue, listing, trunks
    from wsl_det.zoo.store import Store, asker

    log.setup(None)
    if args.list:
        print(listing.table(markdown=args.markdown))
    elif args.trunks:
        print(trunks.table())
    elif args.show:
        print(listing.card(catalogue.find(args.show.removeprefix("zoo://"))))
    elif args.verify:
        path = Path(args.verify)
        print(Store(path.parent).verify(path, catalogue.by_file_name(path.name)))
    else:
        entry = catalogue.find(args.name.removeprefix("zoo://"))
        store = Store(args.dest)
        path = store.get(entry, accept_licence=args.accept_license, ask=asker())
        print(f"{store.proof(entry, path)}\n{catalogue.next_step(entry, path)}")


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()

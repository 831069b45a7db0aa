"""How fast the package is, beside the limits of the machine and everyone else's tools.

    python -m bench [--quick] [--out DIR]
        races against other tools: DIR/results.json, and a report of it
    python -m pytest bench/test_operator.py --benchmark-json=DIR/operator.json
        the engines beside each other, first calls, import time
    python -m bench.report DIR [--into README.md]
        whatever results are in DIR as Markdown tables and figures

``cases.py`` lists what is measured and ``contestants/`` who takes part, each in a process of its
own (``worker.py``). ``race.py`` checks every answer against the definition (``verdict.py``) and
then times the contestants in turns, so that a disturbance of the machine meets all of them;
``sections.py`` says which races are run, ``searching.py`` which of the near-linear engines,
``decoding.py`` which of the decoders: those take the tokens of ``streams.py`` one by one
(``playback.py``). ``depth.py`` measures infinitely many layers, ``softmax.py`` softmax ones.
``ceilings.py`` measures the machine. Run it from the root of the repository, with the extra
``bench`` installed and the machine otherwise idle.
"""

"""Run one gate as several processes: a supervisor that accepts connections, and workers that answer them.

    supervisor.py   starts the workers, starts another in the place of one that ends, stops them all
    process.py      one worker's process, as the supervisor sees it
    handing_out.py  accepts connections and gives each to the worker that has fewest
    worker.py       the worker's end: takes connections, tells that it lives
    seats.py        what each process writes down where the others read it

Used by cli (the supervisor) and app (the worker). The supervisor has no event loop and no thread, so that a fork of it
is whole, and has imported the gate, so that workers start at once and share its memory. A socket pair joins it with
each worker: connections go down, "I am listening" comes up, and its end tells either that the other is gone. Workers do
not speak with one another: what one has to know of the others lies in shared memory (seats.py, observe/series.py).
"""

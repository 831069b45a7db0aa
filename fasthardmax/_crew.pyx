# cython: language_level=3, boundscheck=False, wraparound=False
"""Helper threads that run machine code, without the GIL from beginning to end.

A job is cut into turns, which the caller and its helpers take one after the other. A helper that
has just worked listens for a moment before it sleeps, so that the next job reaches it in well under
a microsecond; one that comes too late is not waited for. Interpreter locks are all it is made of.
"""

from cpython.pythread cimport (
    NOWAIT_LOCK,
    WAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_release_lock,
    PyThread_start_new_thread,
    PyThread_type_lock,
)
from libc.stdint cimport int64_t, intptr_t
from libc.stdlib cimport calloc

import os

ctypedef void (*turn_t)(void *context, int64_t slot, int64_t turn) noexcept nogil

cdef enum:
    LISTENING = 8000  # tries of a lock, some 50 microseconds

cdef struct Job:
    turn_t take
    void *context
    int64_t next
    int64_t end

cdef struct Helper:
    PyThread_type_lock bell  # free once there is a job that the helper has not noticed
    PyThread_type_lock done  # free once the helper has finished a job
    Job *job
    int64_t slot
    Helper *below

cdef PyThread_type_lock _gate  # guards the idle helpers, and the next turn of every job
cdef Helper *_idle
cdef int64_t _started


def start_afresh():
    """Know of no helpers: at first, and in a forked child, which has none of them."""
    global _gate, _idle, _started
    _gate = PyThread_allocate_lock()
    if _gate == NULL:
        raise MemoryError("found no memory for a lock")
    _idle = NULL
    _started = 0


def muster(int64_t n_helpers):
    """Start helpers until there are so many, or as many as can be; the address of ``run_job``.

    ``run_job(take, context, begin, end, n_helpers)`` calls ``take(context, slot, turn)`` for each
    turn from ``begin`` to ``end - 1``, in this thread (slot 0) and in idle helpers (slots from 1).
    """
    global _idle, _started
    cdef Helper *helper
    while _started < n_helpers:
        helper = <Helper *>calloc(1, sizeof(Helper))
        if helper == NULL:
            break
        helper.bell = PyThread_allocate_lock()
        helper.done = PyThread_allocate_lock()
        if helper.bell == NULL or helper.done == NULL:
            break
        PyThread_acquire_lock(helper.bell, WAIT_LOCK)
        PyThread_acquire_lock(helper.done, WAIT_LOCK)
        if <unsigned long>PyThread_start_new_thread(_live, helper) == <unsigned long>-1:
            break
        _started += 1
        PyThread_acquire_lock(_gate, WAIT_LOCK)
        helper.below = _idle
        _idle = helper
        PyThread_release_lock(_gate)
    return <intptr_t>run_job


cdef void run_job(
    turn_t take, void *context, int64_t begin, int64_t end, int64_t n_helpers
) noexcept nogil:
    global _idle
    cdef Job job
    cdef Helper *crew = NULL
    cdef Helper *helper
    cdef int64_t slot = 1
    job.take, job.context, job.next, job.end = take, context, begin, end
    PyThread_acquire_lock(_gate, WAIT_LOCK)
    while slot <= n_helpers and slot < end - begin and _idle != NULL:
        helper = _idle
        _idle = helper.below
        helper.job = &job
        helper.slot = slot
        helper.below = crew
        crew = helper
        slot += 1
    PyThread_release_lock(_gate)
    helper = crew
    while helper != NULL:
        PyThread_release_lock(helper.bell)
        helper = helper.below
    _take_turns(&job, 0)
    while crew != NULL:
        # A helper that has not noticed the bell by now never will.
        if not PyThread_acquire_lock(crew.bell, NOWAIT_LOCK):
            _wait(crew.done)
        helper = crew.below
        PyThread_acquire_lock(_gate, WAIT_LOCK)
        crew.below = _idle
        _idle = crew
        PyThread_release_lock(_gate)
        crew = helper


cdef void _live(void *me) noexcept nogil:
    cdef Helper *helper = <Helper *>me
    while True:
        _wait(helper.bell)
        _take_turns(helper.job, helper.slot)
        PyThread_release_lock(helper.done)


cdef void _take_turns(Job *job, int64_t slot) noexcept nogil:
    cdef int64_t turn
    while True:
        PyThread_acquire_lock(_gate, WAIT_LOCK)
        turn = job.next
        job.next += 1
        PyThread_release_lock(_gate)
        if turn >= job.end:
            return
        job.take(job.context, slot, turn)


cdef void _wait(PyThread_type_lock lock) noexcept nogil:
    cdef int64_t tries
    for tries in range(LISTENING):
        if PyThread_acquire_lock(lock, NOWAIT_LOCK):
            return
    PyThread_acquire_lock(lock, WAIT_LOCK)


start_afresh()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=start_afresh)

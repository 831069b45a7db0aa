"""Kernels that share their turns with helper threads: a call of ``_crew.run_job`` in LLVM IR."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["share_turns"]

_I64, _POINTER = ir.IntType(64), ir.IntType(8).as_pointer()


@intrinsic
def share_turns(typingctx, run_job, n_helpers, begin, end, take, arguments):
    """Call ``take(slot, turn, *arguments)`` for the turns begin..end-1, on several threads.

    ``run_job`` is the address that ``_crew.muster`` gives. ``take`` must raise nothing, which
    nobody would hear, and so allocate nothing; one thread at a time has one ``slot`` of them.
    """
    dispatcher = take.dispatcher
    wanted = (types.intp, types.intp, *arguments.types)
    dispatcher.get_call_template(wanted, {})  # compiles it
    compiled = dispatcher.overloads[wanted]

    def codegen(context, b, signature, args):
        context.active_code_library.add_linking_library(compiled.library)
        kind = ir.FunctionType(ir.VoidType(), [_POINTER, _I64, _I64])
        name = b.module.get_unique_name("take_turn")
        turn = ir.Function(b.module, kind, name)
        turn.linkage = "internal"
        inner = ir.IRBuilder(turn.append_basic_block())
        passed = inner.load(inner.bitcast(turn.args[0], args[5].type.as_pointer()))
        given = cgutils.unpack_tuple(inner, passed)
        context.call_internal_no_propagate(
            inner, compiled.fndesc, compiled.signature, [*turn.args[1:], *given]
        )
        inner.ret_void()
        place = cgutils.alloca_once_value(b, args[5])
        job = ir.FunctionType(ir.VoidType(), [kind.as_pointer(), _POINTER, _I64, _I64, _I64])
        run = b.inttoptr(args[0], job.as_pointer())
        b.call(run, [turn, b.bitcast(place, _POINTER), args[2], args[3], args[1]])
        return context.get_dummy_value()

    intp = types.intp
    return types.void(intp, intp, intp, intp, take, arguments), codegen

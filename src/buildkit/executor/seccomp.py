"""The default system call filter: moby's profile as data, and its compiled form.

Compiling the profile takes a runtime three times as long as everything else it does to start a container, so it is
compiled once through libseccomp and kept as bytes that crun loads as they are.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from buildkit.core.digest import sha256
from buildkit.core.values import dataclass

_ALWAYS = """
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
    clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
    epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
    execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir
    fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork
    fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex
    futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64
    getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid
    getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit
    get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32
    getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy
    io_getevents io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill
    landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat
    listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise
    map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2
    mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
    mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall
    munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv
    preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead
    readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr
    removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
    rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max
    sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget
    semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32
    setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32
    setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt
    set_thread_area set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown
    sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs
    statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64
    ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice
    wait4 waitid waitpid write writev
"""
_TRACING = "process_vm_readv process_vm_writev ptrace"
_OF_ARCHITECTURE = {
    "amd64": ("arch_prctl", "modify_ldt"),
    "386": ("modify_ldt",),
    "arm": ("arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",),
    "arm64": ("arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",),
    "ppc64le": ("sync_file_range2 swapcontext",),
    "riscv64": ("riscv_flush_icache",),
    "s390x": ("s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",),
}
_AF_ALG, _AF_VSOCK = 38, 40
_PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)
_NAMESPACE_FLAGS = 0x7E020000
"""Every CLONE_NEW* but the time namespace: clone(2) may set none of them."""

_EPERM, _ENOSYS = 1, 38

# the runtime spec's name and libseccomp's token of each architecture, its compatible ones after it
_ARCHITECTURES: dict[str, tuple[tuple[str, int], ...]] = {
    "amd64": (("SCMP_ARCH_X86_64", 0xC000003E), ("SCMP_ARCH_X86", 0x40000003), ("SCMP_ARCH_X32", 0x4000003E)),
    "arm64": (("SCMP_ARCH_AARCH64", 0xC00000B7), ("SCMP_ARCH_ARM", 0x40000028)),
    "s390x": (("SCMP_ARCH_S390X", 0x80000016), ("SCMP_ARCH_S390", 0x16)),
    "riscv64": (("SCMP_ARCH_RISCV64", 0xC00000F3),),
    "loong64": (("SCMP_ARCH_LOONGARCH64", 0xC0000102),),
    "mips64": (("SCMP_ARCH_MIPS64", 0x80000008), ("SCMP_ARCH_MIPS", 0x8), ("SCMP_ARCH_MIPS64N32", 0xA0000008)),
    "mips64le": (
        ("SCMP_ARCH_MIPSEL64", 0xC0000008),
        ("SCMP_ARCH_MIPSEL", 0x40000008),
        ("SCMP_ARCH_MIPSEL64N32", 0xE0000008),
    ),
}
_COMPARISONS = {"SCMP_CMP_LT": 2, "SCMP_CMP_EQ": 4, "SCMP_CMP_GT": 6, "SCMP_CMP_MASKED_EQ": 7}


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of one argument of a system call with a number; the masked one asks for 0 under the mask."""

    index: int
    value: int
    comparison: str


@dataclass(frozen=True, slots=True)
class Rule:
    """System calls that a condition, if any, allows; or refuses with ``error``."""

    names: tuple[str, ...]
    condition: Condition | None = None
    error: int = 0


def default_rules(architecture: str) -> tuple[Rule, ...]:
    """moby's default profile for a container with the default capabilities; everything else gives EPERM."""
    rules = [Rule(tuple(_ALWAYS.split())), Rule(tuple(_TRACING.split()))]
    rules += [
        Rule(("socket",), Condition(0, _AF_ALG, "SCMP_CMP_LT")),
        Rule(("socket",), Condition(0, _AF_ALG + 1, "SCMP_CMP_EQ")),
        Rule(("socket",), Condition(0, _AF_VSOCK, "SCMP_CMP_GT")),
    ]
    rules += [Rule(("personality",), Condition(0, value, "SCMP_CMP_EQ")) for value in _PERSONALITIES]
    rules += [Rule(tuple(names.split())) for names in _OF_ARCHITECTURE.get(architecture, ())]
    flags_at = 1 if architecture == "s390x" else 0
    rules.append(Rule(("clone",), Condition(flags_at, _NAMESPACE_FLAGS, "SCMP_CMP_MASKED_EQ")))
    rules.append(Rule(("clone3",), error=_ENOSYS))
    rules.append(Rule(("chroot",)))
    return tuple(rules)


def spec_of(architecture: str) -> dict[str, object]:
    """The profile as the runtime spec's ``linux.seccomp``."""
    rules: list[dict[str, object]] = []
    for rule in default_rules(architecture):
        entry: dict[str, object] = {"names": list(rule.names), "action": "SCMP_ACT_ALLOW"}
        if rule.error:
            entry.update(action="SCMP_ACT_ERRNO", errnoRet=rule.error)
        if rule.condition is not None:
            entry["args"] = [
                {"index": rule.condition.index, "value": rule.condition.value, "op": rule.condition.comparison}
            ]
        rules.append(entry)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": [name for name, _ in _ARCHITECTURES.get(architecture, ())],
        "syscalls": rules,
    }


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def compile_rules(architecture: str) -> bytes | None:
    """The default profile as a BPF program for this machine, or None where libseccomp is not at hand.

    ``architecture`` is the machine's own. System calls that libseccomp has no name for stay refused.
    """
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        return None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_release.argtypes = (ctypes.c_void_p,)
    library.seccomp_arch_add.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    library.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    )
    program = library.seccomp_init(_ERRNO | _EPERM)
    try:
        for _, token in _ARCHITECTURES.get(architecture, ())[1:]:
            if library.seccomp_arch_add(program, token):
                return None
        for rule in default_rules(architecture):
            action = _ERRNO | rule.error if rule.error else _ALLOW
            condition = rule.condition
            comparison = None
            if condition is not None:
                comparison = _Comparison(condition.index, _COMPARISONS[condition.comparison], condition.value, 0)
            for name in rule.names:
                number = library.seccomp_syscall_resolve_name(name.encode())
                if number == _NO_SUCH_CALL:
                    continue
                pointer = ctypes.byref(comparison) if comparison is not None else None
                if library.seccomp_rule_add_array(program, action, number, int(comparison is not None), pointer):
                    return None
        return _export(library, program)
    finally:
        library.seccomp_release(program)


_NO_SUCH_CALL = -1


def _export(library: ctypes.CDLL, program: int) -> bytes | None:
    fd = os.memfd_create("seccomp")
    try:
        if library.seccomp_export_bpf(program, fd):
            return None
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def cached_program(directory: Path, architecture: str) -> bytes | None:
    """`compile_rules`, remembered in a file of ``directory`` under the digest of the rules."""
    name = sha256(repr((architecture, default_rules(architecture))).encode()).partition(":")[2][:16]
    path = directory / f"seccomp-{name}.bpf"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    program = compile_rules(architecture)
    if program is not None:
        scratch = path.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_bytes(program)
        scratch.replace(path)
    return program

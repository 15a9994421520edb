//! Every conformance program keeps its promise under Heapwise. One test a
//! program; see `tests/conformance/`.

use heapwise_tests::conformance;

macro_rules! conformance {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                conformance::check(stringify!($name));
            }
        )*

        /// No program without a test, no test without a program.
        #[test]
        fn the_list_is_complete() {
            assert_eq!(conformance::names(), [$(stringify!($name)),*]);
        }
    };
}

conformance! {
    abort_in_signal
    aligned
    arenas
    atexit
    basics
    break_blocked
    break_lowered
    break_unusable
    c23_and_old
    calloc
    constructors
    dlopen_cxx
    dlopen_later
    dynamic_threshold
    env_arena_max
    env_mmap_max
    env_mmap_threshold
    env_nonsense
    env_top_pad
    env_trim_threshold
    errno_kept
    exceptions
    exports
    first_break
    foreign_sbrk
    fork_handlers
    fork_load
    idle_gives_back
    idle_large_storage
    main_pthread_exit
    mallinfo
    malloc_info
    malloc_stats
    malloc_trim
    mallopt
    middle_gives_back
    new_delete
    new_handler
    no_overlap
    own_new
    perturb
    perturb_env
    producer_consumer
    realloc
    reallocarray
    rlimit_as
    rlimit_data
    rlimit_tight
    short_threads
    signals
    small_stacks
    stopped_in_handler
    thread_exit_tsd
    thread_local
    threads_hand_over
    trim_all_arenas
    trim_by_itself
    tunables
    tunables_arena_max
    vfork_and_spawn
}

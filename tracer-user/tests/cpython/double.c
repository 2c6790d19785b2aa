/* A stand-in for a free-threaded CPython where none can be had: its runtime, its main interpreter and the states of some threads,
   laid out by the headers that it is compiled with, with what identifies such a build in its file.

   Prints what it made, a word and numbers a line, then `ready`, and waits for a line. */

#define _GNU_SOURCE
#define Py_BUILD_CORE 1
#include <Python.h>

#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <internal/pycore_context.h>
#include <internal/pycore_frame.h>
#include <internal/pycore_hamt.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>
#if PY_VERSION_HEX >= 0x030e0000
#include <internal/pycore_interpframe_structs.h>
#endif

enum { THREADS = 4, INSTRUCTIONS = 16, AT = 6 };

_PyRuntimeState _PyRuntime = {
    .debug_offsets = {.cookie = "xdebugpy", .version = PY_VERSION_HEX, .free_threaded = 1},
};
const unsigned long Py_Version = PY_VERSION_HEX;
const char *Py_GetVersion(void) { return PY_VERSION; }

static PyTypeObject context_type, code_type, bitmap_type;

static struct thread {
    PyThreadState state;
    struct _pycontextobject context;
    PyHamtObject vars;
    PyHamtNode_Bitmap node;
    PyObject *more[1]; /* follows b_array's one item */
    PyObject value;
    _PyInterpreterFrame frame;
    PyObject *more_locals[8];
    pthread_t thread;
} threads[THREADS];
static PyObject variable;

/* One code object, and a copy of its instructions for every thread. */
static union {
    PyCodeObject object;
    char bytes[sizeof(PyCodeObject) + INSTRUCTIONS];
} code;
static char copies[THREADS][INSTRUCTIONS];
static struct {
    Py_ssize_t size;
    char *entries[THREADS];
} copies_of_code;

static pthread_barrier_t made;

static void make(struct thread *t, int number)
{
    t->state.interp = &_PyRuntime._main_interpreter;
    t->state.thread_id = (unsigned long)pthread_self();
    t->state.native_thread_id = (unsigned long)syscall(SYS_gettid);
    t->state.context = (PyObject *)&t->context;
    t->state.current_frame = &t->frame;
    ((PyObject *)&t->context)->ob_type = &context_type;
    t->context.ctx_vars = &t->vars;
    t->vars.h_root = (PyHamtNode *)&t->node;
    t->vars.h_count = 1;
    ((PyObject *)&t->node)->ob_type = &bitmap_type;
    ((PyVarObject *)&t->node)->ob_size = 2;
    t->node.b_bitmap = 1;
    t->node.b_array[0] = &variable;
    (&t->node.b_array[0])[1] = &t->value;
#if PY_VERSION_HEX >= 0x030e0000
    t->frame.f_executable.bits = (uintptr_t)&code | 1; /* a tagged reference */
    t->frame.instr_ptr = (_Py_CODEUNIT *)(copies[number] + AT);
    t->frame.tlbc_index = number;
#else
    (void)number;
    t->frame.f_executable = (PyObject *)&code;
    t->frame.instr_ptr = (_Py_CODEUNIT *)(code.object.co_code_adaptive + AT);
#endif
}

static void *run(void *number)
{
    make(&threads[(size_t)number], (int)(size_t)number);
    pthread_barrier_wait(&made);
    pause();
    return NULL;
}

#define SAY(name, address) printf("%s %zu\n", name, (size_t)(address))

int main(void)
{
    PyInterpreterState *interpreter = &_PyRuntime._main_interpreter;
    _PyRuntime.interpreters.head = _PyRuntime.interpreters.main = interpreter;
    code.object.ob_base.ob_base.ob_type = &code_type;
#if PY_VERSION_HEX >= 0x030e0000
    code.object.co_tlbc = (_PyCodeArray *)&copies_of_code;
#endif
    copies_of_code.size = THREADS;
    pthread_barrier_init(&made, NULL, THREADS);
    for (size_t i = 0; i < THREADS; i++) {
        copies_of_code.entries[i] = i == 0 ? code.object.co_code_adaptive : copies[i];
        threads[i].state.next = i + 1 < THREADS ? &threads[i + 1].state : NULL;
    }
    interpreter->threads.head = &threads[0].state;
    for (size_t i = 1; i < THREADS; i++)
        pthread_create(&threads[i].thread, NULL, run, (void *)i);
    make(&threads[0], 0);
#if PY_VERSION_HEX >= 0x030e0000
    threads[0].frame.instr_ptr = (_Py_CODEUNIT *)(code.object.co_code_adaptive + AT);
#endif
    pthread_barrier_wait(&made);

    SAY("runtime", &_PyRuntime);
    SAY("context_type", &context_type);
    SAY("code_type", &code_type);
    SAY("bitmap_type", &bitmap_type);
    SAY("code", &code);
    SAY("instruction", AT);
    SAY("variable", &variable);
    for (size_t i = 0; i < THREADS; i++)
        printf("thread %zu %zu %zu %zu %zu\n", (size_t)threads[i].state.thread_id, (size_t)threads[i].state.native_thread_id,
               (size_t)&threads[i].state, (size_t)&threads[i].context, (size_t)&threads[i].value);
    printf("ready\n");
    fflush(stdout);
    getchar();
    return 0;
}

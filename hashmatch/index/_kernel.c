/* Exact Hamming range search over multi-index-hash postings: the part of hashmatch.index.base that is worth compiling.

   Everything here has a twin in NumPy (hashmatch/index/fallback.py) that gives the same answers. Buffers come from
   Python, are checked there, and are only read; the interpreter's lock is released while they are searched. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CHUNKS 64
#define MAX_BYTES 256          /* of a value: Recipe.MAX_VALUE_BYTES, rounded up to words */
#define MAX_WORDS (MAX_BYTES / 8)
#define AHEAD 16               /* rows whose memory is asked for before they are compared */
#define BLOCK_ROWS 1024        /* of a flat scan, compared with every query while they are in the cache */
#define CROWDED 4              /* what a row of a crowd costs less than another: see cost() */
#define MANY 32768             /* candidates of one query from which on each row is looked at once only */

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define TUNED __attribute__((target("popcnt,bmi2")))
#define HAS_TUNED 1
#else
#define HAS_TUNED 0
#endif
#define INLINE static inline __attribute__((always_inline))

typedef struct {
    const uint8_t *rows;       /* n × width */
    size_t n, width, words;    /* words: of a value padded with zeros */
    const uint32_t *offsets;   /* per chunk 2^bits + 1, one after the other */
    const uint32_t *ids;       /* per chunk n */
    const uint64_t *masks;     /* per chunk `words`: the bits of a value that are its key */
    size_t chunks;
    uint8_t bits[MAX_CHUNKS];
    size_t starts[MAX_CHUNKS]; /* where a chunk's offsets begin */
} Index;

typedef struct { double flat_ns, probe_ns, row_ns; } Costs;
typedef struct { uint32_t query, row, distance; } Hit;
typedef struct { Hit *hits; size_t used, room; int failed; } Hits;
typedef struct { uint32_t at; uint32_t count; } Run;
typedef struct { Run *runs; size_t used, room; } Runs;

static void put(Hits *h, uint32_t query, uint32_t row, uint32_t distance) {
    if (h->used == h->room) {
        size_t room = h->room ? 2 * h->room : 64;
        Hit *grown = realloc(h->hits, room * sizeof(Hit));
        if (!grown) { h->failed = 1; return; }
        h->hits = grown;
        h->room = room;
    }
    h->hits[h->used++] = (Hit){query, row, distance};
}

INLINE uint64_t pext_plain(uint64_t value, uint64_t mask) {
    uint64_t out = 0;
    for (unsigned at = 0; mask; at++, mask &= mask - 1)
        out |= (uint64_t)((value & mask & -mask) != 0) << at;
    return out;
}

#if HAS_TUNED
#include <immintrin.h>
TUNED INLINE uint64_t pext_tuned(uint64_t value, uint64_t mask) { return _pext_u64(value, mask); }
#endif

INLINE void load(uint64_t *words, const uint8_t *value, size_t width, size_t count) {
    words[count - 1] = 0;
    memcpy(words, value, width);
}

INLINE unsigned apart(const uint64_t *query, const uint8_t *row, size_t width, size_t words) {
    unsigned bits = 0;
    if (width == 32) {
        uint64_t w[4];
        memcpy(w, row, 32);
        return (unsigned)(__builtin_popcountll(w[0] ^ query[0]) + __builtin_popcountll(w[1] ^ query[1]) +
                          __builtin_popcountll(w[2] ^ query[2]) + __builtin_popcountll(w[3] ^ query[3]));
    }
    if (width == 8) {
        uint64_t w;
        memcpy(&w, row, 8);
        return (unsigned)__builtin_popcountll(w ^ query[0]);
    }
    size_t i = 0;
    for (; i + 1 < words; i++) {
        uint64_t w;
        memcpy(&w, row + 8 * i, 8);
        bits += (unsigned)__builtin_popcountll(w ^ query[i]);
    }
    uint64_t w = 0;
    memcpy(&w, row + 8 * i, width - 8 * i);
    return bits + (unsigned)__builtin_popcountll(w ^ query[i]);
}

static int by_row(const void *a, const void *b) {
    const Hit *x = a, *y = b;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* The bodies below are compiled twice: as they are, and for processors that count and gather bits in one step. */
#define PEXT pext_plain
#define NAME(x) x##_plain
#define TARGET
#include "_kernel_body.h"
#undef PEXT
#undef NAME
#undef TARGET

#if HAS_TUNED
#define PEXT pext_tuned
#define NAME(x) x##_tuned
#define TARGET TUNED
#include "_kernel_body.h"
#undef PEXT
#undef NAME
#undef TARGET
#endif

static int tuned = 0;

#if HAS_TUNED
#define PICK(f) (tuned ? f##_tuned : f##_plain)
#else
#define PICK(f) (f##_plain)
#endif

/* ── what Python calls ──────────────────────────────────────────────────────────────────────────────────────────── */

static PyObject *packed(Hits *h) {
    if (h->failed) {
        free(h->hits);
        return PyErr_NoMemory();
    }
    PyObject *found = PyBytes_FromStringAndSize((const char *)h->hits, (Py_ssize_t)(h->used * sizeof(Hit)));
    free(h->hits);
    return found;
}

static int mapped(Index *ix, Py_buffer *rows, Py_ssize_t width, Py_buffer *offsets, Py_buffer *ids, Py_buffer *masks,
                  Py_buffer *bits) {
    ix->rows = rows->buf;
    ix->width = (size_t)width;
    ix->words = ((size_t)width + 7) / 8;
    ix->n = (size_t)rows->len / ix->width;
    ix->offsets = offsets->buf;
    ix->ids = ids->buf;
    ix->masks = masks->buf;
    ix->chunks = (size_t)bits->len;
    if (width < 1 || width > MAX_BYTES || ix->chunks > MAX_CHUNKS ||
        (size_t)masks->len != 8 * ix->words * ix->chunks || (size_t)ids->len != 4 * ix->n * ix->chunks)
        return 0;
    size_t at = 0;
    for (size_t c = 0; c < ix->chunks; c++) {
        ix->bits[c] = ((const uint8_t *)bits->buf)[c];
        if (ix->bits[c] < 1 || ix->bits[c] > 31) return 0;
        ix->starts[c] = at;
        at += ((size_t)1 << ix->bits[c]) + 1;
    }
    return (size_t)offsets->len == 4 * at;
}

/* search(queries, rows, width, offsets, ids, masks, bits, threshold, flat_ns, probe_ns, row_ns)
   → (query, row, distance) as triples of uint32, one after the other */
static PyObject *search(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer queries, rows, offsets, ids, masks, bits;
    Py_ssize_t width;
    unsigned int threshold;
    double flat_ns, probe_ns, row_ns;
    if (!PyArg_ParseTuple(args, "y*y*ny*y*y*y*Iddd", &queries, &rows, &width, &offsets, &ids, &masks, &bits, &threshold,
                          &flat_ns, &probe_ns, &row_ns))
        return NULL;
    Index ix;
    Hits hits = {0};
    int right = mapped(&ix, &rows, width, &offsets, &ids, &masks, &bits) && queries.len % width == 0;
    if (right) {
        Costs costs = {flat_ns, probe_ns, row_ns};
        Py_BEGIN_ALLOW_THREADS
        PICK(search_all)(&ix, queries.buf, (size_t)(queries.len / width), threshold, costs, &hits);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&queries); PyBuffer_Release(&rows); PyBuffer_Release(&offsets);
    PyBuffer_Release(&ids); PyBuffer_Release(&masks); PyBuffer_Release(&bits);
    if (!right) {
        PyErr_SetString(PyExc_ValueError, "buffers do not fit each other");
        return NULL;
    }
    return packed(&hits);
}

/* scan(queries, rows, width, threshold) → as search, by comparing everything */
static PyObject *scan(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer queries, rows;
    Py_ssize_t width;
    unsigned int threshold;
    if (!PyArg_ParseTuple(args, "y*y*nI", &queries, &rows, &width, &threshold)) return NULL;
    Hits hits = {0};
    int right = width >= 1 && width <= MAX_BYTES && queries.len % width == 0 && rows.len % width == 0;
    if (right) {
        Index ix = {.rows = rows.buf, .width = (size_t)width, .words = ((size_t)width + 7) / 8,
                    .n = (size_t)(rows.len / width)};
        Py_BEGIN_ALLOW_THREADS
        PICK(scan_all)(&ix, queries.buf, (size_t)(queries.len / width), threshold, &hits);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&queries); PyBuffer_Release(&rows);
    if (!right) {
        PyErr_SetString(PyExc_ValueError, "buffers do not fit each other");
        return NULL;
    }
    return packed(&hits);
}

/* post(rows, width, mask, bits, offsets, ids): fills the postings of one chunk; offsets and ids are written */
static PyObject *post(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer rows, mask, offsets, ids;
    Py_ssize_t width;
    unsigned int bits;
    if (!PyArg_ParseTuple(args, "y*ny*Iw*w*", &rows, &width, &mask, &bits, &offsets, &ids)) return NULL;
    size_t n = width > 0 ? (size_t)(rows.len / width) : 0;
    int right = width >= 1 && width <= MAX_BYTES && bits >= 1 && bits <= 31 && n < UINT32_MAX &&
                (size_t)mask.len == 8 * (((size_t)width + 7) / 8) && (size_t)ids.len == 4 * n &&
                (size_t)offsets.len == 4 * (((size_t)1 << bits) + 1);
    uint32_t *keys = right ? malloc(4 * (n + 1)) : NULL;
    if (keys) {
        Py_BEGIN_ALLOW_THREADS
        PICK(post_chunk)(rows.buf, n, (size_t)width, mask.buf, bits, offsets.buf, ids.buf, keys);
        Py_END_ALLOW_THREADS
        free(keys);
    }
    PyBuffer_Release(&rows); PyBuffer_Release(&mask); PyBuffer_Release(&offsets); PyBuffer_Release(&ids);
    if (!right) {
        PyErr_SetString(PyExc_ValueError, "buffers do not fit each other");
        return NULL;
    }
    if (!keys) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"search", search, METH_VARARGS, "Pairs within a threshold, by postings."},
    {"scan", scan, METH_VARARGS, "Pairs within a threshold, by comparing everything."},
    {"post", post, METH_VARARGS, "Fills the postings of one chunk."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernel", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) {
#if HAS_TUNED
    __builtin_cpu_init();
    tuned = __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("bmi2");
#endif
    return PyModule_Create(&module);
}

/* Area averages, compiled: wsi.resample.area_average() without temporaries.
 *
 * SciPy's sparse product does the same work on an array of float32 that is four times as large as
 * the pixels and leaves the caches. Here one line of the result at a time is in them. Sums are
 * formed in the same order and never fused, so that both give the same bits: see
 * docs/adr/0014-compiled-averages.md. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS 3

/* What a processor multiplies and adds at once: a pixel, and a number that is left out. */
#define LANES 4
typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));

/* A copy of a function for each kind of processor, chosen when the module is loaded. */
#if defined(__clang__) || !defined(__x86_64__) || !defined(__GLIBC__)
#define FOR_EACH_PROCESSOR
#elif __GNUC__ >= 12
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else /* does not know x86-64-v4 yet */
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#endif

/* Sparse rows: the result's k-th pixel is the sum of values[t] * pixel[indices[t]] over
 * indptr[k] <= t < indptr[k + 1]. */
typedef struct {
    Py_buffer buffers[3];
    int held;
    const int32_t *indptr, *indices;
    const float *values;
    Py_ssize_t count;
} Weights;

FOR_EACH_PROCESSOR
static void begin_line(float *line, const uint8_t *pixels, float weight, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i++)
        line[i] = weight * (float)pixels[i];
}

FOR_EACH_PROCESSOR
static void add_line(float *line, const uint8_t *pixels, float weight, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i++)
        line[i] += weight * (float)pixels[i];
}

/* The taps of the result's pixels, as many for each: a loop whose end a processor guesses right. */
typedef struct {
    Py_ssize_t index;
    float value;
} Tap;

/* line: float (width, 3), and one more -> out: uint8 (count, 3). taps: (count, each). */
FOR_EACH_PROCESSOR
static void average_line(const float *line, const Tap *taps, Py_ssize_t each, Py_ssize_t count,
                         uint8_t *out)
{
    for (; count; count--, taps += each, out += CHANNELS) {
        Lanes sum = {0}, pixel;
        for (Py_ssize_t t = 0; t < each; t++) {
            memcpy(&pixel, line + taps[t].index, sizeof(pixel));
            sum += taps[t].value * pixel;
        }
        sum += 0.5f;
        for (int channel = 0; channel < CHANNELS; channel++)
            out[channel] = (uint8_t)sum[channel];
    }
}

static Py_ssize_t most_taps(const Weights *weights)
{
    Py_ssize_t most = 0;
    for (Py_ssize_t k = 0; k < weights->count; k++)
        if (weights->indptr[k + 1] - weights->indptr[k] > most)
            most = weights->indptr[k + 1] - weights->indptr[k];
    return most;
}

/* (count, each), filled up with taps that add nothing. */
static void lay_out(const Weights *weights, Py_ssize_t each, Tap *taps)
{
    for (Py_ssize_t k = 0; k < weights->count; k++)
        for (Py_ssize_t i = 0, t = weights->indptr[k]; i < each; i++, t++, taps++) {
            const int is_one = t < weights->indptr[k + 1];
            taps->index = is_one ? (Py_ssize_t)CHANNELS * weights->indices[t] : 0;
            taps->value = is_one ? weights->values[t] : 0;
        }
}

static void average(const Py_buffer *rgb, const Weights *rows, const Weights *columns,
                    Py_ssize_t each, const Py_buffer *out, float *line, Tap *taps)
{
    const Py_ssize_t n = rgb->shape[1] * CHANNELS;
    const uint8_t *pixels = rgb->buf;
    lay_out(columns, each, taps);
    for (Py_ssize_t k = 0; k < rows->count; k++) {
        int32_t t = rows->indptr[k];
        const int32_t end = rows->indptr[k + 1];
        if (t == end)
            memset(line, 0, (size_t)n * sizeof(float));
        else
            begin_line(line, pixels + rows->indices[t] * rgb->strides[0], rows->values[t], n);
        while (++t < end)
            add_line(line, pixels + rows->indices[t] * rgb->strides[0], rows->values[t], n);
        average_line(line, taps, each, columns->count,
                     (uint8_t *)out->buf + k * out->strides[0]);
    }
}

static void release_weights(Weights *weights)
{
    while (weights->held)
        PyBuffer_Release(&weights->buffers[--weights->held]);
}

/* A flat buffer of one of `formats`, 4 bytes each; the number of them, or -1 with an exception. */
static Py_ssize_t hold(Weights *weights, PyObject *array, const char *formats)
{
    Py_buffer *buffer = &weights->buffers[weights->held];
    if (PyObject_GetBuffer(array, buffer, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0)
        return -1;
    weights->held++;
    if (buffer->ndim != 1 || buffer->itemsize != 4 || strlen(buffer->format) != 1 ||
        strchr(formats, buffer->format[0]) == NULL) {
        PyErr_SetString(PyExc_TypeError, "weights are flat: int32, int32 and float32");
        return -1;
    }
    return buffer->shape[0];
}

/* Takes (indptr, indices, values) and makes sure that no index leaves `length` pixels. */
static int hold_weights(Weights *weights, PyObject *triple, Py_ssize_t length)
{
    PyObject *indptr, *indices, *values;
    weights->held = 0;
    if (!PyArg_ParseTuple(triple, "OOO;weights are (indptr, indices, values)", &indptr, &indices, &values))
        return -1;
    const Py_ssize_t borders = hold(weights, indptr, "il");
    const Py_ssize_t taps = borders < 0 ? -1 : hold(weights, indices, "il");
    const Py_ssize_t factors = taps < 0 ? -1 : hold(weights, values, "f");
    if (factors < 0)
        return -1;
    weights->indptr = weights->buffers[0].buf;
    weights->indices = weights->buffers[1].buf;
    weights->values = weights->buffers[2].buf;
    weights->count = borders - 1;
    int fits = borders >= 1 && taps == factors && weights->indptr[0] >= 0 &&
               weights->indptr[borders - 1] <= taps;
    for (Py_ssize_t k = 0; fits && k < weights->count; k++)
        fits = weights->indptr[k] <= weights->indptr[k + 1];
    for (Py_ssize_t t = 0; fits && t < taps; t++)
        fits = weights->indices[t] >= 0 && weights->indices[t] < length;
    if (!fits)
        PyErr_SetString(PyExc_ValueError, "weights of other pixels than there are");
    return fits ? 0 : -1;
}

/* uint8 (rows, columns, 3), whose lines may lie apart. */
static int hold_picture(Py_buffer *buffer, PyObject *array, int flags)
{
    if (PyObject_GetBuffer(array, buffer, PyBUF_STRIDES | PyBUF_FORMAT | flags) < 0)
        return -1;
    if (buffer->ndim == 3 && strcmp(buffer->format, "B") == 0 && buffer->shape[2] == CHANNELS &&
        buffer->strides[2] == 1 && buffer->strides[1] == CHANNELS)
        return 0;
    PyErr_SetString(PyExc_TypeError, "pictures are uint8 (rows, columns, 3), pixels side by side");
    PyBuffer_Release(buffer);
    return -1;
}

static PyObject *average_held(const Py_buffer *rgb, const Weights *rows, const Weights *columns,
                              const Py_buffer *out)
{
    if (out->shape[0] != rows->count || out->shape[1] != columns->count) {
        PyErr_SetString(PyExc_ValueError, "the result has another shape than its weights");
        return NULL;
    }
    float *line = calloc((size_t)rgb->shape[1] * CHANNELS + LANES - CHANNELS, sizeof(float));
    const Py_ssize_t each = most_taps(columns);
    Tap *taps = calloc((size_t)columns->count * (size_t)each + 1, sizeof(Tap));
    if (line != NULL && taps != NULL) {
        Py_BEGIN_ALLOW_THREADS
        average(rgb, rows, columns, each, out, line, taps);
        Py_END_ALLOW_THREADS
    } else
        PyErr_NoMemory();
    free(taps);
    free(line);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(average_doc,
"average(rgb, rows, columns, out)\n--\n\n"
"Fills `out`, uint8 (rows, columns, 3), with weighted sums of `rgb`, uint8 (h, w, 3), rounded.\n\n"
"rows, columns: (indptr int32, indices int32, values float32) of sparse rows that sum to 1 at most,\n"
"not to be changed meanwhile: other threads go on. Raises TypeError, ValueError.");

static PyObject *area_average(PyObject *module, PyObject *args)
{
    PyObject *source, *down, *across, *target, *answer = NULL;
    Py_buffer rgb, out;
    Weights rows, columns;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO!O!O", &source, &PyTuple_Type, &down, &PyTuple_Type, &across,
                          &target))
        return NULL;
    if (hold_picture(&rgb, source, 0) < 0)
        return NULL;
    if (hold_picture(&out, target, PyBUF_WRITABLE) == 0) {
        columns.held = 0;
        if (hold_weights(&rows, down, rgb.shape[0]) == 0 &&
            hold_weights(&columns, across, rgb.shape[1]) == 0)
            answer = average_held(&rgb, &rows, &columns, &out);
        release_weights(&columns);
        release_weights(&rows);
        PyBuffer_Release(&out);
    }
    PyBuffer_Release(&rgb);
    return answer;
}

static PyMethodDef methods[] = {
    {"average", area_average, METH_VARARGS, average_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_area", "Area averages, compiled.", 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__area(void)
{
    return PyModuleDef_Init(&definition);
}

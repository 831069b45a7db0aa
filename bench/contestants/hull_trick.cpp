// A convex hull that grows: the "hull trick" of programming contests, over balanced trees.
//
// To a query (p, q) with q > 0 a key (a, b) is the line a x + b at x = p / q, and the best key is
// the line on top: an envelope of lines, kept in a std::multiset that is searched by slope where
// a line comes in and by x where a query is asked. For q < 0 the line at the bottom is best, which
// is an envelope of the negated lines. Rounded breakpoints decide between near-ties, and one line
// of several equal ones is kept, the newest.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <set>
#include <vector>

namespace {

struct Line {
    double slope, offset;
    std::int64_t token;
    mutable double until;  // the largest x at which it is on top
};

struct Order {
    using is_transparent = void;
    bool operator()(const Line &a, const Line &b) const { return a.slope < b.slope; }
    bool operator()(const Line &a, double x) const { return a.until < x; }
};

double crossing(const Line &left, const Line &right) {
    return (left.offset - right.offset) / (right.slope - left.slope);
}

class Envelope {
    std::multiset<Line, Order> lines;  // by slope, and so by x

  public:
    void insert(double slope, double offset, std::int64_t token) {
        const double forever = std::numeric_limits<double>::infinity();
        auto line = lines.insert({slope, offset, token, forever});
        if (line != lines.begin() && std::prev(line)->slope == slope) {
            if (std::prev(line)->offset > offset) {
                lines.erase(line);
                return;
            }
            lines.erase(std::prev(line));
        }
        auto right = std::next(line);
        if (line != lines.begin() && right != lines.end() &&
            crossing(*std::prev(line), *line) >= crossing(*line, *right)) {
            lines.erase(line);
            return;
        }
        for (; right != lines.end(); right = lines.erase(right)) {
            line->until = crossing(*line, *right);
            if (line->until < right->until) break;
        }
        if (right == lines.end()) line->until = forever;
        while (line != lines.begin()) {
            auto left = std::prev(line);
            left->until = crossing(*left, *line);
            if (left == lines.begin() || std::prev(left)->until < left->until) break;
            lines.erase(left);
        }
    }

    std::int64_t best(double x) const { return lines.lower_bound(x)->token; }
};

struct Head {
    Envelope top, bottom;

    void insert(const double *key, std::int64_t token) {
        top.insert(key[0], key[1], token);
        bottom.insert(-key[0], -key[1], token);
    }
    std::int64_t best(const double *query) const {
        double x = query[0] / query[1];
        if (query[1] == 0) x = query[0] * std::numeric_limits<double>::infinity();
        return query[1] < 0 ? bottom.best(x) : top.best(x);
    }
};

struct Layer {
    std::vector<Head> heads;
    std::size_t width;
    std::vector<double> values;
    std::int64_t n_tokens = 0;

    void append(const double *keys, const double *token_values) {
        for (std::size_t h = 0; h < heads.size(); ++h) heads[h].insert(keys + 2 * h, n_tokens);
        values.insert(values.end(), token_values, token_values + heads.size() * width);
        ++n_tokens;
    }
    void query(const double *queries, double *out) const {
        for (std::size_t h = 0; h < heads.size(); ++h) {
            std::size_t row = heads[h].best(queries + 2 * h) * heads.size() + h;
            std::copy_n(values.data() + row * width, width, out + h * width);
        }
    }
};

// The binding: arrays are trusted to be float64, in C order, and of the shapes named.

struct Buffer {
    Py_buffer view;
    bool held;
    Buffer(PyObject *array, int flags) : held(!PyObject_GetBuffer(array, &view, flags)) {}
    ~Buffer() { if (held) PyBuffer_Release(&view); }
    double *data() const { return static_cast<double *>(view.buf); }
};

Layer *layer_of(PyObject *capsule) {
    return static_cast<Layer *>(PyCapsule_GetPointer(capsule, nullptr));
}

// layer(n_heads, value_dim)
PyObject *layer(PyObject *, PyObject *const *args, Py_ssize_t) {
    auto *made = new Layer{std::vector<Head>(PyLong_AsSize_t(args[0])), PyLong_AsSize_t(args[1]), {}};
    return PyCapsule_New(made, nullptr, [](PyObject *self) { delete layer_of(self); });
}

// extend(layer, keys (T, H, 2), values (T, H, value_dim))
PyObject *extend(PyObject *, PyObject *const *args, Py_ssize_t) {
    Layer *to = layer_of(args[0]);
    Buffer keys(args[1], PyBUF_ND), values(args[2], PyBUF_ND);
    if (!to || !keys.held || !values.held) return nullptr;
    std::size_t n_heads = to->heads.size();
    for (Py_ssize_t t = 0; t < keys.view.shape[0]; ++t)
        to->append(keys.data() + t * n_heads * 2, values.data() + t * n_heads * to->width);
    Py_RETURN_NONE;
}

// step(layer, keys (H, 2), queries (H, 2), values (H, value_dim), out (H, value_dim))
PyObject *step(PyObject *, PyObject *const *args, Py_ssize_t) {
    Layer *to = layer_of(args[0]);
    Buffer keys(args[1], PyBUF_SIMPLE), queries(args[2], PyBUF_SIMPLE);
    Buffer values(args[3], PyBUF_SIMPLE), out(args[4], PyBUF_WRITABLE);
    if (!to || !keys.held || !queries.held || !values.held || !out.held) return nullptr;
    to->append(keys.data(), values.data());
    to->query(queries.data(), out.data());
    Py_RETURN_NONE;
}

template <PyObject *(*function)(PyObject *, PyObject *const *, Py_ssize_t)>
PyMethodDef method(const char *name) {
    return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)),
            METH_FASTCALL, nullptr};
}

PyMethodDef methods[] = {
    method<layer>("layer"), method<extend>("extend"), method<step>("step"), {}};
PyModuleDef module = {PyModuleDef_HEAD_INIT, "hull_trick_native", nullptr, -1, methods};

}  // namespace

PyMODINIT_FUNC PyInit_hull_trick_native() { return PyModule_Create(&module); }

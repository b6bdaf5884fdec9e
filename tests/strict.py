"""A strict stand-in for CuPy, backed by NumPy, for machines without a GPU.

`strict` plays the module `cupy`, `DeviceArray` its `ndarray`. Where CuPy refuses (host arrays, lists as operands, names
it lacks) the stand-in refuses; where CuPy is silently dangerous (integer indices that wrap, undefined casts, dirty
memory, several values for one place) it raises, or fills in poison. So code that passes here does not rely on what only
NumPy does. It says nothing about speed. Names as in CuPy 14.
"""

import operator
import types

import numpy

# What the stand-in knows.

CONSTANTS = """dtype finfo iinfo pi e inf nan newaxis integer floating bool_ uint8 int8 int16 int32 int64 intp
    float16 float32 float64"""

UFUNCS = """maximum minimum fmax fmin floor ceil rint trunc abs absolute exp expm1 log log1p sqrt sin cos tan tanh
    arctan2 hypot sign mod fmod remainder floor_divide isfinite isnan isinf multiply add subtract divide negative
    square power reciprocal logical_and logical_or logical_not logical_xor equal not_equal less less_equal greater
    greater_equal matmul"""

# name -> how many leading arguments are arrays or scalars (never lists)
FUNCTIONS = {
    **dict.fromkeys("zeros ones full arange linspace eye result_type promote_types".split(), 0),
    **dict.fromkeys("""zeros_like ones_like full_like sum prod mean var std max min argmax argmin argsort sort any all
        transpose moveaxis swapaxes reshape ravel broadcast_to expand_dims squeeze pad repeat tile flip roll cumsum
        cumprod nonzero count_nonzero diag tril triu split ascontiguousarray""".split(), 1),
    **dict.fromkeys("dot tensordot outer bincount copyto".split(), 2),
    **dict.fromkeys("where clip".split(), 3),
    "einsum": 99,
}

METHODS = {
    **dict.fromkeys("""copy reshape ravel flatten transpose swapaxes squeeze sum prod mean var std max min argmax argmin
        argsort any all repeat cumsum nonzero diagonal view""".split(), 1),
    **dict.fromkeys("dot fill".split(), 2),
    "clip": 3,
}

OPERATORS = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split()
COMPARISONS = "eq ne lt le gt ge".split()

# keywords of NumPy that CuPy's functions do not have, and the exceptions that do
NUMPY_ONLY = {"where", "initial", "mode", "subok", "like", "device", "correction"}
KEYWORDS_KEPT = {"copyto": {"where"}, "pad": {"mode"}}
SCATTER_DTYPES = "int32 uint32 uint64 float16 float32 float64".split()

SCALARS = (bool, int, float, complex, numpy.generic)


# From wrapped to plain and back.

def _plain(x):
    """A NumPy value for `x`; a host array is refused, wherever it stands in a tuple or a list."""
    if isinstance(x, DeviceArray):
        return x._a
    if isinstance(x, numpy.ndarray):
        raise TypeError("CuPy refuses a host array here: move it with asarray first")
    if isinstance(x, tuple | list):
        return tuple(map(_plain, x))
    return x


def _host(x):
    """A NumPy value for an axis, a shape, a dtype: what CuPy reads on the host."""
    if isinstance(x, DeviceArray):
        raise TypeError("CuPy takes a number of the host here, not a device array")
    return tuple(map(_host, x)) if isinstance(x, tuple | list) else _plain(x)


def _operand(x):
    """A NumPy value for an array argument: a device array or a scalar, nothing that would have to be converted."""
    if isinstance(x, DeviceArray) or isinstance(x, SCALARS):
        return _plain(x)
    raise TypeError(f"CuPy takes a device array or a scalar here, not {type(x).__name__}")


def _wrap(y):
    if isinstance(y, numpy.ndarray | numpy.generic):
        y = numpy.asarray(y)
        if y.dtype.kind not in "biufc":
            raise ValueError(f"CuPy has no dtype {y.dtype}")
        return DeviceArray(y)
    return type(y)(map(_wrap, y)) if isinstance(y, tuple | list) else y


def _function(f, operands, name=None):
    """`f` of NumPy as CuPy has it; the first `operands` arguments are arrays or scalars, and one of them an array."""
    name = name or f.__name__

    def call(*args, **kwargs):
        refused = (kwargs.keys() & NUMPY_ONLY) - KEYWORDS_KEPT.get(name, set())
        if refused:
            raise TypeError(f"CuPy's {name} has no argument {', '.join(sorted(refused))}")
        # all but the ufuncs ask their first argument for its methods, where's condition too; einsum's is text
        if operands and not isinstance(f, numpy.ufunc) and not isinstance(args[0], DeviceArray | str):
            raise TypeError(f"CuPy's {name} takes a device array first, not {type(args[0]).__name__}")
        first = [x if x is None or isinstance(x, str) else _operand(x) for x in args[:operands]]
        rest = map(_host, args[operands:])
        with numpy.errstate(all="ignore"):  # a GPU never warns
            y = f(*first, *rest, **{k: _plain(v) for k, v in kwargs.items()})
        return _wrap(y) if kwargs.get("out") is None else kwargs["out"]

    call.__name__ = name
    return call


# Where the libraries differ silently, the stand-in raises.

def _check_range(index, size):
    if numpy.any((numpy.asarray(index) < 0) | (numpy.asarray(index) >= size)):
        raise IndexError(f"an index array leaves 0..{size - 1}: CuPy would wrap it silently")


def _check_cast(a, dtype):
    """Float to integer is undefined for what no integer holds; and a negative fraction wants floor before the cast."""
    a, dtype = numpy.asarray(a), numpy.dtype(dtype)
    if a.dtype.kind == "f" and dtype.kind in "iu":
        a, limits = a.astype("float64"), numpy.iinfo(dtype)
        inside = (a >= limits.min) & (a <= limits.max)  # False for NaN
        if not numpy.all(inside & ((a >= 0) | (a == numpy.trunc(a)))):
            raise ValueError(f"cast of NaN, infinite, too large or negative fractional values to {dtype.name}")


def _poison(a):
    """CuPy's `empty` holds what the memory pool held before; a test should see that."""
    a.fill(numpy.nan if a.dtype.kind in "fc" else True if a.dtype.kind == "b" else numpy.iinfo(a.dtype).max)
    return _wrap(a)


# The array.

class DeviceArray:
    """An array "on the device": NumPy may not see inside, except through `get`."""

    __slots__ = ("_a", "__weakref__")
    __array_ufunc__ = None  # CuPy defines it; our code must not need it
    __hash__ = None

    def __init__(self, a):
        self._a = a

    def __array__(self, *args, **kwargs):
        raise TypeError("CuPy refuses implicit conversion to a NumPy array: use to_host")

    def __array_function__(self, function, *args, **kwargs):
        raise TypeError(f"numpy.{function.__name__} was given a device array: use get_array_module")

    T = property(lambda self: _wrap(self._a.T))
    device = property(lambda self: types.SimpleNamespace(use=lambda: None))

    @property
    def base(self):
        base = self._a.base
        while base is not None and not isinstance(base, numpy.ndarray):  # as_strided puts a helper in between
            base = getattr(base, "base", None)
        return _wrap(base)

    def get(self):
        return self._a.copy()

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return f"strict.{self._a!r}"

    def astype(self, dtype, copy=True):
        _check_cast(self._a, dtype)
        return self if not copy and self.dtype == dtype else _wrap(self._a.astype(dtype))

    def take(self, indices, axis=None, out=None):
        _check_range(_operand(indices), self.size if axis is None else self.shape[axis])
        y = _plain(self).take(_operand(indices), axis, _plain(out))
        return _wrap(y) if out is None else out

    def __getitem__(self, index):
        return _wrap(self._a[self._index(index)])

    def __setitem__(self, index, value):
        index, value = self._index(index), _operand(value)
        _check_cast(value, self.dtype)
        if numpy.size(value) > 1 and any(isinstance(i, numpy.ndarray) for i in index):
            places = numpy.arange(self.size).reshape(self.shape)[index]
            if numpy.unique(places).size != places.size:
                raise ValueError("an index occurs twice in an assignment: CuPy keeps any one of the values")
        self._a[index] = value

    def _index(self, index):
        """The index for NumPy, as a tuple that ends in `...`, so that a single element is a 0-d view."""
        index = index if isinstance(index, tuple) else (index,)
        if any(isinstance(i, list | tuple) for i in index):
            raise TypeError("a list as an index is a host array in disguise: use an array of the device")
        index = _plain(index)
        widths = [0 if i is None or i is Ellipsis else i.ndim if getattr(i, "dtype", "") == "bool" else 1
                  for i in index]
        if not any(i is Ellipsis for i in index):
            index, widths = (*index, Ellipsis), [*widths, 0]
        axis, rest = 0, self.ndim - sum(widths)
        for i, width in zip(index, widths, strict=True):
            if isinstance(i, numpy.ndarray) and i.dtype.kind in "iu" and axis < self.ndim:
                _check_range(i, self.shape[axis])
            axis += rest if i is Ellipsis else width
        return index


def _inplace(f):
    def call(self, other):
        with numpy.errstate(all="ignore"):
            f(self._a, _operand(other))
        return self
    return call


for _name in "shape ndim size dtype itemsize nbytes strides flags".split():
    setattr(DeviceArray, _name, property(operator.attrgetter(f"_a.{_name}")))
for _name in "__len__ item".split():
    setattr(DeviceArray, _name, lambda self, name=_name: getattr(self._a, name)())
for _type in (bool, int, float):  # for one element; these wait for the device
    setattr(DeviceArray, f"__{_type.__name__}__", lambda self, type=_type: type(self.item()))
for _name, _operands in METHODS.items():
    setattr(DeviceArray, _name, _function(getattr(numpy.ndarray, _name), _operands))
for _name in OPERATORS + COMPARISONS:
    _f = getattr(operator, f"__{_name}__")
    setattr(DeviceArray, f"__{_name}__", _function(_f, 2))
    if _name in OPERATORS:
        setattr(DeviceArray, f"__r{_name}__", _function(lambda a, b, f=_f: f(b, a), 2, f"r{_name}"))
    if _name in OPERATORS and _name != "matmul":
        setattr(DeviceArray, f"__i{_name}__", _inplace(getattr(operator, f"__i{_name}__")))
for _name in "neg pos abs invert".split():
    setattr(DeviceArray, f"__{_name}__", _function(getattr(operator, f"__{_name}__"), 1))


# The module.

def _asarray(a, dtype=None):
    """The explicit move to the device; always a copy, as it is on a GPU."""
    if isinstance(a, DeviceArray):
        return a if dtype is None else a.astype(dtype, copy=False)
    if dtype is not None:
        _check_cast(a, dtype)
    return _wrap(numpy.array(a, dtype=dtype))


def _sequence(f):
    def call(arrays, *args, **kwargs):
        if not all(isinstance(a, DeviceArray) for a in arrays):
            raise TypeError(f"CuPy's {f.__name__} takes device arrays only")
        plain = [a._a for a in arrays]
        return _function(lambda *args, **kwargs: f(plain, *args, **kwargs), 0, f.__name__)(*args, **kwargs)
    return call


def _take_along_axis(a, indices, axis):
    _check_range(_operand(indices), a.size if axis is None else a.shape[axis])
    return _function(numpy.take_along_axis, 2)(a, indices, axis)


def _add_at(a, index, values):
    if _plain(a).dtype.name not in SCATTER_DTYPES:
        raise TypeError(f"CuPy's add.at does not know {a.dtype.name}")
    _check_cast(_operand(values), a.dtype)
    numpy.add.at(a._a, a._index(index), _operand(values))


def _as_strided(x, shape=None, strides=None):
    y = numpy.lib.stride_tricks.as_strided(_plain(x), _host(shape), _host(strides))
    owner = x if x.base is None else x.base
    (low, high), (start, stop) = map(numpy.lib.array_utils.byte_bounds, (owner._a, y))
    if y.size and not low <= start <= stop <= high:
        raise ValueError("as_strided leaves the array's memory")
    return _wrap(y)


class _Module:
    """`strict`: an attribute for each known name, one sentence for any other."""

    __name__ = "strict"

    def __getattr__(self, name):
        raise AttributeError(f"CuPy has no name {name}, or the stand-in does not know it: "
                             "check CuPy's reference and add it")


strict = _Module()
vars(strict).update(
    {name: getattr(numpy, name) for name in CONSTANTS.split()}
    | {name: _function(getattr(numpy, name), 99, name) for name in UFUNCS.split()}
    | {name: _function(getattr(numpy, name), n) for name, n in FUNCTIONS.items()}
    | {f.__name__: _sequence(f) for f in (numpy.stack, numpy.concatenate)},
    ndarray=DeviceArray, asarray=_asarray, take=DeviceArray.take, take_along_axis=_take_along_axis,
    array=lambda a, dtype=None: _asarray(a, dtype).copy(),
    empty=lambda shape, dtype=float: _poison(numpy.empty(shape, dtype)),
    empty_like=lambda a, dtype=None: _poison(numpy.empty_like(_operand(a), dtype)),
    lib=types.SimpleNamespace(stride_tricks=types.SimpleNamespace(as_strided=_as_strided)),
    linalg=types.SimpleNamespace(solve=_function(numpy.linalg.solve, 2), inv=_function(numpy.linalg.inv, 1),
                                 norm=_function(numpy.linalg.norm, 1)),
    cuda=types.SimpleNamespace(get_current_stream=lambda: types.SimpleNamespace(synchronize=lambda: None),
                               Device=lambda number: types.SimpleNamespace(use=lambda: None),
                               runtime=types.SimpleNamespace(getDeviceCount=lambda: 1)),
    asnumpy=lambda a: a.get() if isinstance(a, DeviceArray) else numpy.asarray(a),
    is_available=lambda: True,
)
strict.add.at = _add_at

//! numpy arrays and tensors: the one place where elements cross.
//!
//! An array that lies in memory as a tensor does is copied once, as bytes; any other is made so by numpy first. numpy has
//! no bfloat16 and nothing narrower than a byte: the first comes out as float32, the others as int8 and uint8.

use crate::types::told;
use half::f16;
use lowbit::ir::{DType, Type, memory};
use lowbit::{Error, Result, Tensor};
use numpy::{
    Element, PyArray1, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Calls a generic function with the element type of a numpy array, or gives nothing.
macro_rules! with_element {
    ($array:expr, $py:expr, $run:ident($($argument:expr),*)) => {{
        let descr = $array.dtype();
        macro_rules! attempt {
            ($of:ty, $dtype:expr) => {
                if descr.is_equiv_to(&numpy::dtype::<$of>($py)) {
                    return Some($run::<$of>($dtype, $($argument),*));
                }
            };
        }
        attempt!(f32, DType::F32);
        attempt!(u8, DType::U8);
        attempt!(i8, DType::I8);
        attempt!(i64, DType::I64);
        attempt!(i32, DType::I32);
        attempt!(f16, DType::F16);
        attempt!(i16, DType::I16);
        attempt!(u16, DType::U16);
        attempt!(bool, DType::Bool);
        None
    }};
}

/// Types whose elements are bytes in memory as a tensor has them.
trait Plain: Element + Copy {
    /// The elements as little-endian bytes, added to `out`.
    fn put(elements: &[Self], out: &mut [u8]);
    /// The elements of such bytes.
    fn get(bytes: &[u8]) -> Vec<Self>;
}

macro_rules! plain {
    ($($of:ty),*) => {$(
        impl Plain for $of {
            fn put(elements: &[Self], out: &mut [u8]) {
                for (to, x) in out.chunks_exact_mut(size_of::<$of>()).zip(elements) {
                    to.copy_from_slice(&x.to_le_bytes());
                }
            }
            fn get(bytes: &[u8]) -> Vec<Self> {
                let one = |b: &[u8]| b.try_into().map(<$of>::from_le_bytes).unwrap_or_default();
                bytes.chunks_exact(size_of::<$of>()).map(one).collect()
            }
        }
    )*};
}
plain!(f32, f16, i64, i32, i16, u16, i8);

impl Plain for u8 {
    fn put(elements: &[Self], out: &mut [u8]) {
        out.copy_from_slice(elements);
    }
    fn get(bytes: &[u8]) -> Vec<Self> {
        bytes.to_vec()
    }
}

impl Plain for bool {
    fn put(elements: &[Self], out: &mut [u8]) {
        out.iter_mut().zip(elements).for_each(|(to, x)| *to = u8::from(*x));
    }
    fn get(bytes: &[u8]) -> Vec<Self> {
        bytes.iter().map(|b| *b != 0).collect()
    }
}

/// Copies an array of just this type and these sizes, in one piece, into `out`; whether it was one. Any other a slower way
/// may take.
pub fn fill(value: &Bound<'_, PyAny>, ty: &Type, out: &mut [u8]) -> bool {
    fn put<T: Plain>(dtype: DType, value: &Bound<'_, PyUntypedArray>, ty: &Type, out: &mut [u8]) -> bool {
        if dtype != ty.dtype {
            return false;
        }
        let Ok(array) = value.cast::<PyArrayDyn<T>>() else { return false };
        let Ok(array) = array.try_readonly() else { return false };
        match array.as_slice() {
            Ok(elements) if size_of_val(elements) == out.len() => {
                T::put(elements, out);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }
    fn find(value: &Bound<'_, PyUntypedArray>, ty: &Type, out: &mut [u8]) -> Option<bool> {
        let sizes = &ty.shape.0;
        if value.ndim() != sizes.len() || sizes.iter().zip(value.shape()).any(|(d, n)| d.known() != Some(*n)) {
            return None;
        }
        with_element!(value, value.py(), put(value, ty, out))
    }
    match value.cast::<PyUntypedArray>() {
        Ok(array) if array.is_c_contiguous() => find(array, ty, out).unwrap_or(false),
        Ok(_) | Err(_) => false,
    }
}

/// An array of whatever numpy makes one of, nothing copied where it is one.
pub fn plain<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if value.is_exact_instance_of::<PyUntypedArray>() {
        return Ok(value.clone());
    }
    // Its data are numbers that are not meant, and no tensor has a mask.
    if value.hasattr("mask")? && value.hasattr("filled")? {
        return Err(PyTypeError::new_err("expected an array, found a masked one: array.filled(...) has no holes"));
    }
    let array = value.py().import("numpy")?.call_method1("asarray", (value,))?;
    // What numpy makes nothing of but one of Python's objects, or text.
    match array.getattr("dtype")?.getattr("kind")?.extract()? {
        'O' | 'U' | 'S' => Err(PyTypeError::new_err(format!("expected an array of numbers, found {}", told(value)))),
        _ => Ok(array),
    }
}

/// Wider floats as float32, which must hold them: what is finite stays so.
fn narrowed<'py>(array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let numpy = array.py().import("numpy")?;
    let scope = PyDict::new(array.py());
    scope.set_item("over", "ignore")?;
    // numpy would warn of what is refused here.
    let scope = numpy.call_method("errstate", (), Some(&scope))?;
    scope.call_method0("__enter__")?;
    let narrow = array.call_method1("astype", ("float32",));
    scope.call_method1("__exit__", (array.py().None(), array.py().None(), array.py().None()))?;
    let narrow = narrow?;
    let lost = numpy.call_method1("not_equal", (is_finite(array)?, is_finite(&narrow)?))?;
    if numpy.call_method1("any", (&lost,))?.is_truthy()? {
        let first = numpy.call_method1("extract", (lost, array))?.get_item(0)?;
        return Err(PyValueError::new_err(format!("expected numbers that float32 holds, found {}", first.str()?)));
    }
    Ok(narrow)
}

fn is_finite<'py>(array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    array.py().import("numpy")?.call_method1("isfinite", (array,))
}

/// A float tensor as another float type, which must hold its numbers: what is finite stays so.
pub fn as_floats(ty: &Type, given: &Tensor) -> Result<Tensor> {
    let before = given.floats()?;
    let converted = Tensor::from_floats(ty.clone(), before.clone().into_owned())?;
    let after = converted.floats()?;
    match before.iter().zip(&*after).find(|(x, y)| x.is_finite() && !y.is_finite()) {
        None => Ok(converted.clone()),
        Some((x, _)) => Err(Error::new(format!("expected numbers that {} holds, found {x}", dtype_name(ty.dtype)))),
    }
}

/// The tensor of whatever numpy makes an array of; wider floats become float32, which must hold them.
pub fn tensor(value: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    fn take<T: Plain>(dtype: DType, array: &Bound<'_, PyUntypedArray>) -> PyResult<Tensor> {
        let array = array.cast::<PyArrayDyn<T>>()?.try_readonly()?;
        let elements = array.as_slice()?;
        let mut bytes = vec![0; size_of_val(elements)];
        T::put(elements, &mut bytes);
        let dims = array.shape().to_vec();
        Tensor::from_bytes(Type::plain(dtype, dims), bytes.into()).map_err(|e| PyTypeError::new_err(e.to_string()))
    }
    fn find(array: &Bound<'_, PyUntypedArray>) -> Option<PyResult<Tensor>> {
        with_element!(array, array.py(), take(array))
    }
    let py = value.py();
    let numpy = py.import("numpy")?;
    let array = plain(value)?;
    // An array may say that it has more elements than there is memory for, as broadcast ones do.
    let bytes = array.getattr("nbytes")?.extract()?;
    memory::check("an array", bytes, memory::MAX_MEMORY).map_err(|e| PyValueError::new_err(e.message().to_string()))?;
    let dtype = array.getattr("dtype")?;
    let kind: String = dtype.getattr("kind")?.extract()?;
    let size: usize = dtype.getattr("itemsize")?.extract()?;
    // What tensors have no type of, and numpy makes by itself of Python's numbers; and numbers of other machines.
    let array = match (kind.as_str(), size) {
        ("f", 8..) => narrowed(&array)?,
        ("u", 4) => array.call_method1("astype", ("int64",))?,
        ("u", 8) => {
            let most = i64::MAX as u64;
            if array.getattr("size")?.extract::<usize>()? > 0 && array.call_method0("max")?.gt(most)? {
                return Err(PyTypeError::new_err(format!("expected integers up to {most}, found larger ones")));
            }
            array.call_method1("astype", ("int64",))?
        }
        (_, _) if !dtype.getattr("isnative")?.extract::<bool>()? => {
            array.call_method1("astype", (dtype.call_method1("newbyteorder", ("=",))?,))?
        }
        (_, _) => array,
    };
    // Not `ascontiguousarray`, which makes a list of a number.
    let array = numpy.call_method1("require", (array, py.None(), "CA"))?;
    match find(array.cast::<PyUntypedArray>()?) {
        Some(found) => found,
        None => {
            let dtype = array.getattr("dtype")?.to_string();
            Err(PyTypeError::new_err(format!("expected an array of numbers, found one of {dtype}")))
        }
    }
}

/// An array of a tensor's elements.
pub fn array<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    let elements = elements(tensor.ty(), tensor.bytes()).map_err(|e| PyTypeError::new_err(e.to_string()))?;
    elements.array(py, tensor.dims())
}

/// Elements on their way out, which need no interpreter until they are an array.
pub enum Elements {
    F32(Vec<f32>),
    F16(Vec<f16>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    I16(Vec<i16>),
    U16(Vec<u16>),
    I8(Vec<i8>),
    U8(Vec<u8>),
    Bool(Vec<bool>),
}

/// The elements of a tensor of this type with these bytes.
pub fn elements(ty: &Type, bytes: &[u8]) -> Result<Elements> {
    let narrow = || -> Result<Vec<i64>> { Tensor::from_bytes(ty.clone(), bytes.to_vec().into())?.ints() };
    // Of 2 or 4 bits, so that a byte has room.
    Ok(match ty.dtype {
        DType::F32 => Elements::F32(f32::get(bytes)),
        DType::F16 => Elements::F16(f16::get(bytes)),
        DType::BF16 => Elements::F32(Tensor::from_bytes(ty.clone(), bytes.to_vec().into())?.floats()?.into_owned()),
        DType::I64 => Elements::I64(i64::get(bytes)),
        DType::I32 => Elements::I32(i32::get(bytes)),
        DType::I16 => Elements::I16(i16::get(bytes)),
        DType::U16 => Elements::U16(u16::get(bytes)),
        DType::I8 => Elements::I8(i8::get(bytes)),
        DType::U8 => Elements::U8(u8::get(bytes)),
        DType::Bool => Elements::Bool(bool::get(bytes)),
        DType::I4 | DType::I2 => Elements::I8(narrow()?.into_iter().map(|x| x as i8).collect()),
        DType::U4 | DType::U2 => Elements::U8(narrow()?.into_iter().map(|x| x as u8).collect()),
    })
}

impl Elements {
    /// An array that takes them over.
    pub fn array<'py>(self, py: Python<'py>, dims: &[usize]) -> PyResult<Bound<'py, PyAny>> {
        fn of<'py, T: Element>(py: Python<'py>, elements: Vec<T>, dims: &[usize]) -> PyResult<Bound<'py, PyAny>> {
            Ok(PyArray1::from_vec(py, elements).reshape(dims)?.into_any())
        }
        match self {
            Elements::F32(e) => of(py, e, dims),
            Elements::F16(e) => of(py, e, dims),
            Elements::I64(e) => of(py, e, dims),
            Elements::I32(e) => of(py, e, dims),
            Elements::I16(e) => of(py, e, dims),
            Elements::U16(e) => of(py, e, dims),
            Elements::I8(e) => of(py, e, dims),
            Elements::U8(e) => of(py, e, dims),
            Elements::Bool(e) => of(py, e, dims),
        }
    }
}

/// numpy's name of an element type.
pub fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::I8 => "int8",
        DType::U8 => "uint8",
        DType::I16 => "int16",
        DType::U16 => "uint16",
        DType::I32 => "int32",
        DType::I64 => "int64",
        DType::Bool => "bool",
        DType::I4 => "int4",
        DType::U4 => "uint4",
        DType::I2 => "int2",
        DType::U2 => "uint2",
    }
}

/// The element type of one of those names.
pub fn dtype_named(name: &str) -> Result<DType> {
    DType::ALL.into_iter().find(|d| dtype_name(*d) == name).ok_or_else(|| {
        let known: Vec<&str> = DType::ALL.into_iter().map(dtype_name).collect();
        Error::new(format!("expected an element type, found '{name}'")).hint(format!("one of {}", known.join(", ")))
    })
}

/// A tensor of another's type and sizes with the elements of an array: integers must fit, floats are rounded to the type.
pub fn tensor_like(value: &Bound<'_, PyAny>, like: &Tensor) -> PyResult<Result<Tensor>> {
    let value = plain(value)?;
    let sizes: Vec<usize> = value.getattr("shape")?.extract()?;
    if sizes != like.dims() {
        return Ok(Err(Error::new(format!("expected the sizes {:?}, found {sizes:?}", like.dims()))));
    }
    let given = tensor(&value)?;
    let convert = || {
        let converted = match (given.dtype().is_float(), like.dtype().is_float()) {
            _ if given.dtype() == like.dtype() => Tensor::from_bytes(like.ty().clone(), given.clone().into_bytes()),
            (true, true) => as_floats(like.ty(), &given),
            (false, false) => Tensor::from_ints(like.ty().clone(), &given.ints()?),
            (true, false) | (false, true) => Err(Error::new(format!(
                "expected elements of {}, found {}",
                dtype_name(like.dtype()),
                dtype_name(given.dtype())
            ))),
        }?;
        like.ty().quant.as_ref().map_or(Ok(()), |q| converted.check_range(q))?;
        Ok(converted)
    };
    Ok(convert())
}

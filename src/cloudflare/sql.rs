//! The `Sql` port over a Durable Object's storage.
//!
//! Bound here and not taken from `worker`, because every call must be able to throw without taking the WASM instance
//! with it, and because `transactionSync` is what makes a command atomic: without it the runtime commits what ran
//! before an exception or a trap.

use js_sys::{Array, Promise};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

use crate::{
    authority::sql::{INTEGER_MAX, Row, Sql, SqlError, Value},
    policy::UnixMillis,
};

use super::glue;

#[wasm_bindgen]
extern "C" {
    /// `DurableObjectState`.
    pub type State;
    #[wasm_bindgen(method, getter)]
    pub(super) fn id(this: &State) -> ObjectId;
    #[wasm_bindgen(method, getter)]
    fn storage(this: &State) -> JsStorage;

    /// `DurableObjectId`.
    pub type ObjectId;
    #[wasm_bindgen(method, getter)]
    pub(super) fn name(this: &ObjectId) -> Option<String>;

    /// `DurableObjectStorage`.
    #[derive(Clone, Debug)]
    type JsStorage;
    #[wasm_bindgen(method, getter)]
    fn sql(this: &JsStorage) -> JsSql;
    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction_sync(
        this: &JsStorage,
        body: &mut dyn FnMut() -> Result<JsValue, JsValue>,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = setAlarm)]
    fn set_alarm(this: &JsStorage, at_unix_millis: f64) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn sync(this: &JsStorage) -> Result<Promise, JsValue>;

    /// `SqlStorage`.
    #[derive(Clone, Debug)]
    pub type JsSql;
}

/// The storage of one object.
#[derive(Debug)]
pub(super) struct Storage {
    storage: JsStorage,
    sql: JsSql,
}

impl Storage {
    pub(super) fn of(state: &State) -> Self {
        let storage = state.storage();
        let sql = storage.sql();
        Storage { storage, sql }
    }

    /// Waits until everything written so far is durable, which only the one current instance of an object can bring about.
    pub(super) async fn durable(&self) -> Result<(), SqlError> {
        JsFuture::from(self.storage.sync().map_err(error)?).await.map_err(error)?;
        Ok(())
    }

    /// Has the object woken at `at`; counts together with what was written in the same turn.
    pub(super) fn set_alarm(&self, at: UnixMillis) -> Result<Promise, SqlError> {
        // Exact: the time is an integer below 2⁵³.
        self.storage.set_alarm(at.as_millis() as f64).map_err(error)
    }
}

impl Sql for Storage {
    fn run(&self, statement: &str, parameters: &[Value]) -> Result<Vec<Row>, SqlError> {
        #[cfg(feature = "trap")]
        super::trap::before_statement()?;
        let bound = Array::new();
        for parameter in parameters {
            bound.push(&to_js(parameter)?);
        }
        let rows = glue::rows(&self.sql, statement, bound).map_err(error)?;
        #[cfg(feature = "trap")]
        super::trap::after_statement(statement);
        rows.iter().map(|row| Array::from(&row).iter().map(from_js).collect()).collect()
    }

    fn atomically<T, E: From<SqlError>>(&self, body: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let mut body = Some(body);
        let mut outcome = None;
        let committed = self.storage.transaction_sync(&mut || {
            let result = body.take().map(|body| body());
            let rolls_back = !matches!(result, Some(Ok(_)));
            outcome = result;
            // Throwing is how a transaction is told to roll back.
            if rolls_back { Err(JsValue::from_str("rolled back")) } else { Ok(JsValue::UNDEFINED) }
        });
        match (outcome, committed) {
            (Some(Err(refused)), _) => Err(refused),
            (Some(Ok(value)), Ok(_)) => Ok(value),
            (_, Err(thrown)) => Err(error(thrown).into()),
            (None, Ok(_)) => Err(SqlError("the transaction did not run".into()).into()),
        }
    }
}

fn to_js(value: &Value) -> Result<JsValue, SqlError> {
    match value {
        Value::Null => Ok(JsValue::NULL),
        Value::Text(text) => Ok(JsValue::from_str(text)),
        // Exact within the bound; beyond it JavaScript would round.
        Value::Integer(number) if number.unsigned_abs() <= INTEGER_MAX.unsigned_abs() => {
            Ok(JsValue::from_f64(*number as f64))
        }
        Value::Integer(number) => Err(SqlError(format!("an integer is too large to be stored: {number}"))),
    }
}

fn from_js(value: JsValue) -> Result<Value, SqlError> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    if let Some(text) = value.as_string() {
        return Ok(Value::Text(text));
    }
    match value.as_f64() {
        Some(number) if number.fract() == 0.0 && number.abs() <= INTEGER_MAX as f64 => {
            Ok(Value::Integer(number as i64))
        }
        _ => Err(SqlError("a stored value is neither text nor an integer".into())),
    }
}

/// What an exception says. SQLite's messages name tables, columns and error codes, no values.
fn error(thrown: JsValue) -> SqlError {
    let message = thrown.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
    SqlError(message.or_else(|| thrown.as_string()).unwrap_or_else(|| "an exception without a message".into()))
}

//! Demands that were read before. A proxy sends the same few queries over and over, and to read one takes as long as to
//! look at the key.

use std::{cell::RefCell, rc::Rc};

use crate::{
    http::{Problem, demand_of_query},
    policy::Demand,
};

/// So many are kept; the oldest makes room.
const KEPT: usize = 16;

/// A query as it was sent, and what it asks for.
type Read = (String, Rc<Demand>);

thread_local! {
    /// With it the place of the oldest.
    static READ: RefCell<(Vec<Read>, usize)> = const { RefCell::new((Vec::new(), 0)) };
}

/// What [`demand_of_query`] makes of these two.
pub(super) fn of_query(query: &str, workspace: Option<&str>) -> Result<Rc<Demand>, Problem> {
    if workspace.is_some() {
        return demand_of_query(query, workspace).map(Rc::new);
    }
    READ.with_borrow_mut(|(read, next)| {
        if let Some((_, demand)) = read.iter().find(|(text, _)| text == query) {
            return Ok(demand.clone());
        }
        let demand = Rc::new(demand_of_query(query, None)?);
        let kept = (query.to_owned(), demand.clone());
        match read.get_mut(*next) {
            Some(place) => *place = kept,
            None => read.push(kept),
        }
        *next = (*next + 1) % KEPT;
        Ok(demand)
    })
}

//! The front of settings that no other setting beats in everything.

/// Indices of the points that no other point dominates (is at most as large in each cost, and smaller in one), in
/// ascending order of the first cost. Of equal points the first stays. Points with a cost that is no number are
/// left out.
pub fn front<const COSTS: usize>(points: &[[f64; COSTS]]) -> Vec<usize> {
    let mut order: Vec<usize> =
        (0..points.len()).filter(|i| points[*i].iter().all(|c| !c.is_nan())).collect();
    let by_costs = |a: &usize, b: &usize| {
        let pairs = points[*a].iter().zip(&points[*b]);
        pairs.map(|(x, y)| x.total_cmp(y)).find(|o| o.is_ne()).unwrap_or_else(|| a.cmp(b))
    };
    order.sort_by(by_costs);
    // In this order a point can only be dominated by one before it.
    let mut front: Vec<usize> = Vec::new();
    for index in order {
        let dominated = |other: &usize| points[*other].iter().zip(&points[index]).all(|(o, p)| o <= p);
        if !front.iter().any(dominated) {
            front.push(index);
        }
    }
    front
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_beaten_is_left_out() {
        let points = [[3.0, 1.0], [1.0, 3.0], [2.0, 2.0], [2.0, 2.0], [3.0, 2.0], [f64::NAN, 0.0]];
        assert_eq!(front(&points), [1, 2, 0]);
        assert!(front::<2>(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn the_front_has_no_dominated_point_and_dominates_the_rest(
            points in proptest::collection::vec(proptest::array::uniform3(0u8..6), 0..60),
        ) {
            let points: Vec<[f64; 3]> = points.iter().map(|p| p.map(f64::from)).collect();
            let front = front(&points);
            let covers = |a: usize, b: usize| points[a].iter().zip(&points[b]).all(|(x, y)| x <= y);
            for a in &front {
                prop_assert!(!front.iter().any(|b| a != b && covers(*b, *a)));
            }
            for i in 0..points.len() {
                prop_assert!(front.iter().any(|f| covers(*f, i)));
            }
        }
    }
}

use crate::figures::Row;
use crate::inits::Init;
use crate::machine::Machine;
use crate::rows::signals::Losses;
pub fn ratios(_m: &Machine, _i: &[Init], _r: &[Row]) -> String {
    String::new()
}
pub fn early(_m: &Machine, _i: &[Init], _l: &Losses) -> String {
    String::new()
}
pub fn scale(_m: &Machine, _i: &[Init], _r: &[Row]) -> String {
    String::new()
}

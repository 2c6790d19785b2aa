use tracer_user::attach::{object::BpfObject, programs::{Programs, AttachError}};
fn main() {
    let t = std::time::Instant::now();
    match Programs::load(&BpfObject::find().unwrap(), 1<<20) {
        Ok(p) => { println!("ok {:?}", t.elapsed()); println!("{:?}", p.totals()); }
        Err(AttachError::Load(e)) => println!("{e}\n{}", e.log),
        Err(e) => println!("{e:?}"),
    }
}

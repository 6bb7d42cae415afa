;; Two functions that tail-call each other.
(module
  (memory (export "memory") 1)
  (func $even (param i64) (result i64)
    (if (result i64) (i64.eqz (local.get 0))
      (then (i64.const 1))
      (else (return_call $odd (i64.sub (local.get 0) (i64.const 1))))))
  (func $odd (param i64) (result i64)
    (if (result i64) (i64.eqz (local.get 0))
      (then (i64.const 0))
      (else (return_call $even (i64.sub (local.get 0) (i64.const 1))))))
  (func (export "_start")
    (if (i64.ne (call $even (i64.const 500000000)) (i64.const 1)) (then unreachable))))

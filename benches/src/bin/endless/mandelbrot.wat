;; Counts the points of a 96 by 64 grid that stay in the Mandelbrot set for 100 steps, for ever.
(module
  (import "host" "tick" (func $tick))
  (func $inside (param $x f64) (param $y f64) (result i32)
    (local $a f64) (local $b f64) (local $aa f64) (local $bb f64) (local $n i32)
    loop $step
      (local.set $aa (f64.mul (local.get $a) (local.get $a)))
      (local.set $bb (f64.mul (local.get $b) (local.get $b)))
      (if (f64.gt (f64.add (local.get $aa) (local.get $bb)) (f64.const 4)) (then (return (i32.const 0))))
      (local.set $b (f64.add (f64.mul (f64.mul (local.get $a) (local.get $b)) (f64.const 2)) (local.get $y)))
      (local.set $a (f64.add (f64.sub (local.get $aa) (local.get $bb)) (local.get $x)))
      (br_if $step (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 100)))
    end
    i32.const 1)
  (global $found (export "found") (mut i32) (i32.const 0))
  (func (export "main") (local $i i32) (local $j i32) (local $n i32)
    loop $round
      (local.set $n (i32.const 0))
      (local.set $i (i32.const 0))
      loop $row
        (local.set $j (i32.const 0))
        loop $column
          (local.set $n (i32.add (local.get $n) (call $inside
            (f64.sub (f64.mul (f64.convert_i32_u (local.get $j)) (f64.const 0.03125)) (f64.const 2))
            (f64.sub (f64.mul (f64.convert_i32_u (local.get $i)) (f64.const 0.03125)) (f64.const 1)))))
          (br_if $column (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 96)))
        end
        (br_if $row (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 64)))
      end
      (global.set $found (local.get $n))
      call $tick
      br $round
    end))

;; Interprets a small program of bytes for ever: 0 adds, 1 exchanges, 2 shifts, 3 stores, 4 loads, 5 goes back
;; 20,000 times, 6 reports and begins again.
(module
  (import "host" "tick" (func $tick)) (global $z (mut i32) (i32.const 0))
  (memory 1)
  (data (i32.const 0) "\00\01\02\00\03\04\01\00\02\01\03\00\04\00\01\02\05\06")
  (func (export "main") (local $pc i32) (local $a i32) (local $b i32) (local $n i32) (local $left i32)
    (local.set $b (i32.const 1)) (local.set $left (i32.const 2000)) (global.set $z (i32.add (global.get $z) (i32.const 1000000)))(global.set $z (i32.add (global.get $z) (i32.const 1000000)))(global.set $z (i32.add (global.get $z) (i32.const 1000000)))(global.set $z (i32.add (global.get $z) (i32.const 1000000)))(global.set $z (i32.add (global.get $z) (i32.const 1000000)))(global.set $z (i32.add (global.get $z) (i32.const 1000000)))(global.set $z (i32.add (global.get $z) (i32.const 1000000)))(global.set $z (i32.add (global.get $z) (i32.const 1000000)))
    block $out loop $next
      block $6 block $5 block $4 block $3 block $2 block $1 block $0
        (br_table $0 $1 $2 $3 $4 $5 $6 (i32.load8_u (local.get $pc)))
      end
        (local.set $a (i32.add (local.get $a) (local.get $b)))
        (local.set $pc (i32.add (local.get $pc) (i32.const 1)))
        br $next
      end
        local.get $a local.get $b local.set $a local.set $b
        (local.set $pc (i32.add (local.get $pc) (i32.const 1)))
        br $next
      end
        (local.set $a (i32.xor (i32.rotl (local.get $a) (i32.const 5)) (i32.shr_u (local.get $b) (i32.const 3))))
        (local.set $pc (i32.add (local.get $pc) (i32.const 1)))
        br $next
      end
        (i32.store offset=1024 (i32.and (local.get $b) (i32.const 0x7ffc)) (local.get $a))
        (local.set $pc (i32.add (local.get $pc) (i32.const 1)))
        br $next
      end
        (local.set $b (i32.load offset=1024 (i32.and (local.get $a) (i32.const 0xfc))))
        (local.set $pc (i32.add (local.get $pc) (i32.const 1)))
        br $next
      end
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (local.set $pc (select (i32.const 0) (i32.const 17) (i32.lt_u (local.get $n) (i32.const 20000))))
        br $next
      end
      call $tick (br_if $out (i32.eqz (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
      (local.set $n (i32.const 0))
      (local.set $pc (i32.const 0))
      br $next
    end end))
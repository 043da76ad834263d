-- The path carries organization and employee; the extension decides the type.
begin;
select plan(5);
select tests.cast_on_stage();
select tests.become('bob');
select matches(public.create_receipt_path('JPG') ->> 'path',
  format('^%s/%s/[0-9a-f-]{36}\.jpg$', tests.acme(), tests.user_id('bob')), 'organization / employee / uuid . extension');
select is(public.create_receipt_path('pdf', 'application/pdf') ->> 'mime_type', 'application/pdf', 'with its type');
select tests.throws_code($$select public.create_receipt_path('exe')$$, 'invalid_argument', 'no program');
select tests.throws_code($$select public.create_receipt_path(null)$$, 'invalid_argument', 'something is needed');
select tests.throws_code($$select public.create_receipt_path('png', 'image/jpeg')$$, 'invalid_argument', 'a type that fits');
select * from finish();
rollback;

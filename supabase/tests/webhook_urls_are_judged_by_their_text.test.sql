-- What the text of a URL already tells: scheme, port, credentials, and addresses in any spelling.
begin;
select plan(6);

create function pg_temp.accepted(urls text[]) returns setof text language sql as $$
  select u from unnest(urls) as u where private.webhook_url_problem(u) is null
$$;
create function pg_temp.refused(urls text[]) returns setof text language sql as $$
  select u from unnest(urls) as u where private.webhook_url_problem(u) is not null
$$;

select is_empty(
  $$
    select pg_temp.refused(array['https://hooks.example.com', 'https://hooks.example.com/', 'https://hooks.example.com/a/b?c=d@e',
      'https://hooks.example.com:443/x', 'https://hooks.example.com:8443/x', 'https://xn--bcher-kva.example/x',
      'https://1and1.example.com/', 'https://93.184.215.14/', 'https://[2606:4700::1111]:8443/', 'https://a.b/%20'])
  $$,
  'public hosts over https'
);

select is_empty(
  $$
    select pg_temp.accepted(array[null, '', 'hooks.example.com', 'http://hooks.example.com/', 'ftp://hooks.example.com/',
      'https://', 'https:///x', 'https://hooks.example.com:80/', 'https://hooks.example.com:22/', 'https://hooks.example.com:0/',
      'https://hooks.example.com:65536/', 'https://hooks.example.com:x/', 'https://user@hooks.example.com/',
      'https://user:secret@hooks.example.com/', 'https://hooks.example.com#x', 'https://hooks.example.com/a b',
      'https://hooks.example.com\@10.0.0.1/', E'https://hooks.example.com/\n', 'https://bücher.example/',
      'HTTPS://hooks.example.com/', 'https://Hooks.example.com/', 'https://hooks.example.com./',
      'https://hooks..example.com/', 'https://-a.example.com/', 'https://a_b.example.com/', 'https://hooks%2eexample.com/',
      'https://hooks.example.com' || repeat('/x', 1000)])
  $$,
  'no other scheme, port, credentials, fragment or spelling'
);

select is_empty(
  $$
    select pg_temp.accepted(array['https://localhost/', 'https://a.localhost/', 'https://printer.local/', 'https://db.internal/',
      'https://router.lan/', 'https://x.home.arpa/', 'https://intranet/', 'https://127.0.0.1/', 'https://10.1.2.3/',
      'https://169.254.169.254/', 'https://100.64.0.1/', 'https://[::1]/', 'https://[::ffff:10.0.0.1]/',
      'https://[64:ff9b::a00:1]/', 'https://[2002:a00:1::]/', 'https://[fd00::1]/', 'https://[fe80::1]/', 'https://[::]/'])
  $$,
  'no name or address of a private network'
);

select is_empty(
  $$
    select pg_temp.accepted(array['https://2130706433/', 'https://0x7f000001/', 'https://0x7f.1/', 'https://0177.0.0.1/',
      'https://127.1/', 'https://a.1/', 'https://1.2.3.4.5/', 'https://256.1.1.1/', 'https://[1.2.3.4]/', 'https://[::g]/',
      'https://[2606:4700::1111/', 'https://[::1%25eth0]/'])
  $$,
  'no address in a spelling that sockets read otherwise'
);

select results_eq(
  $$
    select private.webhook_url_problem('http://localhost:8080/') is null,
      private.webhook_url_problem('http://127.0.0.1:8080/') is null
  $$,
  $$values (false, false)$$,
  'this machine is refused'
);
update private.webhook_settings set allow_localhost = true where id;
select results_eq(
  $$
    select private.webhook_url_problem('http://localhost:8080/') is null,
      private.webhook_url_problem('http://[::1]:8080/') is null,
      private.webhook_url_problem('http://localhost:80/') is null,
      private.webhook_url_problem('http://10.0.0.1:8080/') is null,
      private.webhook_url_problem('http://hooks.example.com:8080/') is null
  $$,
  $$values (true, true, false, false, false)$$,
  'unless the installation allows it, and then only this machine'
);
select * from finish();
rollback;

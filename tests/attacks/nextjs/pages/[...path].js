export async function getServerSideProps({ params, res }) {
  res.setHeader("x-routed-to", "page");
  return { props: { path: params.path } };
}

export default function Page({ path }) {
  return path.join(" | ");
}

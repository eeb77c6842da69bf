import time
from tests.e2e.platform import Platform
from tests.e2e.repositories import *
def test_try(tmp_path):
    p = Platform(tmp_path/"p", settings={"OTEL_EXPORTER_OTLP_ENDPOINT":"http://127.0.0.1:9","OTEL_EXPORTER_OTLP_INSECURE":"true"})
    p.start()
    try:
        with p.tenant() as t:
            s=t.add_source(make_repository(tmp_path/"r", knowledge("zepx")))
            t.run("What does zepx keep?", s, "answer")
    finally:
        a=time.time(); code=p.interrupt(); print("STOP", code, time.time()-a)
    for l in p.log_lines():
        if l["level"]!="info": print(l)

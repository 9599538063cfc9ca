# The page the dojo client boots: a call on start, one that signs in, one that fails.
from gnr.core.gnrbag import Bag
from gnr.core.gnrdecorator import public_method


class GnrCustomWebPage:
    def main(self, root, **kwargs):
        root.h1("PAGE BOOTED", id="title")
        root.dataRpc("answer", self.add, a=2, b=40, _onStart=True)
        root.div("^answer", id="answer")

    @public_method
    def add(self, a=None, b=None, **kwargs):
        return a + b

    @public_method
    def sign_in(self, user=None, password=None, **kwargs):
        result, _ = self.doLogin(login=Bag({"user": user, "password": password}))
        return result["message"] or f"signed in: {self.connection.user}"

    @public_method
    def who(self, **kwargs):
        return self.user

    @public_method
    def fail(self, **kwargs):
        raise ValueError("page-failure")
